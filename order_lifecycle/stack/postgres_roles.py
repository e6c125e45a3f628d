"""Make the roles and the database of the embedded PostgreSQL, as its superuser.

Only `up` connects as the superuser. It makes two other roles. The owner of the tables runs the
migrations. The application does everything else (db/roles.py says what it may do).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import connection, encrypt_password

from order_lifecycle.stack.role_names import APPLICATION, DATABASE, OWNER, SUPERUSER

# In a home of an older version, this short-lived role renames the superuser: PostgreSQL lets no
# role rename itself.
_RENAMER = "orders_renamer"

# Every attribute is named, so that a role loses at the next start what it should not have.
_ORDINARY = "LOGIN NOSUPERUSER NOCREATEROLE NOREPLICATION NOBYPASSRLS INHERIT"
_ATTRIBUTES = {
    OWNER: f"{_ORDINARY} CREATEDB",  # to try a migration in a database beside this one
    APPLICATION: f"{_ORDINARY} NOCREATEDB",
}

# Give the owner everything in this database that belongs to the superuser: an older version's
# migrations made it, or somebody by hand.
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
    """Make the roles and the database, or correct what is there.

    Args:
        port: The server's port at 127.0.0.1.
        passwords: The password of each role.

    Raises:
        psycopg2.OperationalError: If the server does not answer or refuses the password.
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
    """Make the database if there is none. Return False if the superuser still owns it.

    An older version of this project made it so.
    """
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
    """Give the owner the database of an older version and everything in it."""
    with _connected(port, SUPERUSER, passwords[SUPERUSER], DATABASE) as admin:
        _run(admin, _TRANSFER_OWNERSHIP)
        _run(admin, f"REVOKE ALL ON DATABASE {DATABASE} FROM PUBLIC")
        _run(admin, f"GRANT CONNECT ON DATABASE {DATABASE} TO {APPLICATION}")
        # Last, because a database of the owner means that all of this is done.
        _run(admin, f"ALTER DATABASE {DATABASE} OWNER TO {OWNER}")


def _rename_old_superuser(port: int, passwords: Mapping[str, str]) -> bool:
    """Rename the superuser of an older version, which has the name of the application's role.

    Return False if this home is not from such a version.
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
            _run(renamer, both.format(sql.Literal(verifier)))  # two statements, one transaction
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
    """Return the hash that the server stores, so that its log of statements has no password."""
    return str(encrypt_password(password, role, to, "scram-sha-256"))
