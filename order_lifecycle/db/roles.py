"""The privileges of the application's role in the database.

The owner of the tables runs the migrations. The application's role can read everything, insert
rows, and update the few columns that a step changes. It can delete nothing. It owns nothing, so it
cannot switch off a trigger.
"""

from __future__ import annotations

from sqlalchemy import Connection, text

# For each table, the columns that the application may set. A privilege on columns does not let it
# lock the table, and PostgreSQL alone sets the other columns, such as an event's ID and time.
INSERT = {
    "orders": "id, state, items, address_json",
    "payments": "payment_id, order_id, status, amount",
    "events": "order_id, type, step, payload_json",
}
UPDATE = {"orders": "state, address_json, updated_at", "payments": "status"}


def grant(tx: Connection, application: str) -> None:
    """Grant the role `application` its privileges on the tables that exist, and revoke all others.

    It is safe to repeat. `tx` must be a connection of the owner of the tables.
    """
    preparer = tx.dialect.identifier_preparer
    role = preparer.quote_identifier(application)
    schema = preparer.quote_identifier(tx.scalar(text("SELECT current_schema()")))
    database = preparer.quote_identifier(tx.scalar(text("SELECT current_database()")))
    tables = set(
        tx.scalars(text("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"))
    )
    statements = [
        # A temporary table can hide a real one, even from a trigger. Only the owner of the database
        # can revoke this; for another role PostgreSQL only prints a warning.
        f"REVOKE TEMPORARY ON DATABASE {database} FROM PUBLIC, {role}",
        f"REVOKE CREATE ON SCHEMA {schema} FROM PUBLIC, {role}",
        f"REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM PUBLIC, {role}",
        f"REVOKE ALL ON ALL SEQUENCES IN SCHEMA {schema} FROM PUBLIC, {role}",
        f"GRANT USAGE ON SCHEMA {schema} TO {role}",
        f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {role}",
        *(
            f"GRANT {verb} ({columns}) ON {schema}.{table} TO {role}"
            for verb, granted in (("INSERT", INSERT), ("UPDATE", UPDATE))
            for table, columns in granted.items()
            if table in tables
        ),
    ]
    for statement in statements:
        tx.exec_driver_sql(statement)
