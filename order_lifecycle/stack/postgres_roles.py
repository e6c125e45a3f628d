"""The roles and the database of the embedded PostgreSQL, as its superuser makes them.

`up` alone is the superuser. It hands out two other roles: the owner of the tables, for migrations,
and the application, for everything else (db/roles.py says what that one may do).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import connection, encrypt_password

from order_lifecycle.stack.postgres import APPLICATION, DATABASE, OWNER, SUPERUSER

# The superuser of a home that an older version made is renamed by this one, which lives for a
# moment: nobody can rename the role that he is.
_RENAMER = "orders_renamer"

# Written out, so that a role that was given more loses it at the next start.
_ORDINARY = "LOGIN NOSUPERUSER NOCREATEROLE NOREPLICATION NOBYPASSRLS INHERIT"
_ATTRIBUTES = {
    OWNER: f"{_ORDINARY} CREATEDB",  # to try a migration in a database beside this one
    APPLICATION: f"{_ORDINARY} NOCREATEDB",
}

# Everything in this database that the superuser made by hand or by an older version's migrations.
_TRANSFER_OWNERSHIP = """
DO $$
DECLARE
    found record;
    superuser CONSTANT oid := 'postgres'::regrole;
BEGIN
    FOR found IN
        SELECT 'SCHEMA' AS kind, format('%I', nspname) AS name FROM pg_namespace
        WHERE nspowner = superuser AND nspname NOT LIKE 'pg\\_%' AND nspname <> 'information_schema'
        UNION ALL
        SELECT CASE relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW'
                WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, c.oid::regclass::text
        FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
        WHERE relowner = superuser AND relkind IN ('r', 'p', 'v', 'm', 'S')
            AND nspname NOT LIKE 'pg\\_%' AND nspname <> 'information_schema'
            -- A sequence of a column goes with its table.
            AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = c.oid AND deptype IN ('a', 'i'))
        UNION ALL
        SELECT 'ROUTINE', p.oid::regprocedure::text
        FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace
        WHERE proowner = superuser AND nspname NOT LIKE 'pg\\_%' AND nspname <> 'information_schema'
    LOOP
        EXECUTE format('ALTER %s %s OWNER TO orders_owner', found.kind, found.name);
    END LOOP;
END $$
"""


def ensure_roles(port: int, passwords: Mapping[str, str]) -> None:
    """Make the roles and the database, or put them right.

    `passwords`: one for each role. Raises psycopg2.OperationalError if the server does not answer
    or does not let us in.
    """
    try:
        with _connected(port, SUPERUSER, passwords[SUPERUSER]) as admin:
            _make_roles(admin, passwords)
            handed_over = _make_database(admin)
        if not handed_over:
            _transfer_ownership(port, passwords)
    except psycopg2.OperationalError as error:
        refused = "password authentication failed" in str(error)
        if not refused or not _rename_old_superuser(port, passwords):
            raise
        ensure_roles(port, passwords)


def _make_roles(admin: connection, passwords: Mapping[str, str]) -> None:
    for role, attributes in _ATTRIBUTES.items():
        if not _exists(admin, "SELECT FROM pg_roles WHERE rolname = %s", role):
            _run(admin, f"CREATE ROLE {role}")
        _set_password(admin, role, passwords[role], attributes)
    if _exists(admin, "SELECT FROM pg_roles WHERE rolname = %s", _RENAMER):
        _run(admin, f"DROP ROLE {_RENAMER}")


def _make_database(admin: connection) -> bool:
    """Return whether the owner has the database. One of an older version it has not yet."""
    if not _exists(admin, "SELECT FROM pg_database WHERE datname = %s", DATABASE):
        _run(admin, f"CREATE DATABASE {DATABASE} OWNER {OWNER}")
        _run(admin, f"REVOKE ALL ON DATABASE {DATABASE} FROM PUBLIC")
        _run(admin, f"GRANT CONNECT ON DATABASE {DATABASE} TO {APPLICATION}")
    return _exists(
        admin,
        "SELECT FROM pg_database WHERE datname = %s AND datdba <> 'postgres'::regrole",
        DATABASE,
    )


def _transfer_ownership(port: int, passwords: Mapping[str, str]) -> None:
    """Give the owner the database of an older version, and all that is in it."""
    with _connected(port, SUPERUSER, passwords[SUPERUSER], DATABASE) as admin:
        _run(admin, _TRANSFER_OWNERSHIP)
        _run(admin, f"REVOKE ALL ON DATABASE {DATABASE} FROM PUBLIC")
        _run(admin, f"GRANT CONNECT ON DATABASE {DATABASE} TO {APPLICATION}")
        # The last, since it says that all of this is done.
        _run(admin, f"ALTER DATABASE {DATABASE} OWNER TO {OWNER}")


def _rename_old_superuser(port: int, passwords: Mapping[str, str]) -> bool:
    """In a home of an older version the application is the superuser: rename it.

    Returns False if this is no such home.
    """
    try:
        with _connected(port, APPLICATION, passwords[APPLICATION]) as old:
            if not _exists(
                old, "SELECT FROM pg_roles WHERE rolname = %s AND rolsuper", APPLICATION
            ):
                return False
            _run(old, f"DROP ROLE IF EXISTS {_RENAMER}")
            _run(old, f"CREATE ROLE {_RENAMER}")
            _set_password(old, _RENAMER, passwords[SUPERUSER], "LOGIN SUPERUSER")
        with _connected(port, _RENAMER, passwords[SUPERUSER]) as renamer:
            verifier = _verifier(renamer, SUPERUSER, passwords[SUPERUSER])
            both = sql.SQL(
                f"ALTER ROLE {APPLICATION} RENAME TO {SUPERUSER}; "
                f"ALTER ROLE {SUPERUSER} PASSWORD {{}}"
            )
            _run(renamer, both.format(sql.Literal(verifier)))  # in one transaction
    except psycopg2.OperationalError:
        return False
    return True


@contextmanager
def _connected(
    port: int, role: str, password: str, database: str = "postgres"
) -> Iterator[connection]:
    to = psycopg2.connect(
        host="127.0.0.1",
        port=port,
        user=role,
        password=password,
        dbname=database,
        connect_timeout=2,
        require_auth="scram-sha-256",
    )
    try:
        to.autocommit = True
        yield to
    finally:
        to.close()


def _run(to: connection, statement: str | sql.Composable) -> None:
    with to.cursor() as cursor:
        cursor.execute(statement)


def _exists(to: connection, query: str, *values: Any) -> bool:
    with to.cursor() as cursor:
        cursor.execute(query, values)
        return bool(cursor.rowcount)


def _set_password(to: connection, role: str, password: str, attributes: str) -> None:
    statement = sql.SQL(f"ALTER ROLE {role} {attributes} PASSWORD {{}}")
    _run(to, statement.format(sql.Literal(_verifier(to, role, password))))


def _verifier(to: connection, role: str, password: str) -> str:
    """Return what the server keeps of a password, so that no statement in its log has one."""
    return str(encrypt_password(password, role, to, "scram-sha-256"))
