"""Summarise a database error in one line that says what to do.

Each text here follows the name of a server: "PostgreSQL at 127.0.0.1:5434 …".
"""

from __future__ import annotations

import re

from sqlalchemy import Engine, inspect, select, text
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as NoFreeConnection

from order_lifecycle.db.connection import SERVER_ATTRIBUTE, connect
from order_lifecycle.db.models import Base
from order_lifecycle.environment import libpq_note

_SETTING = "rejects a setting: {why}. Look for it in DATABASE_URL and in the variables PG…"
NO_TABLES = "has no tables for orders yet: run `alembic upgrade head`"

# By SQLSTATE, for a statement that failed (https://www.postgresql.org/docs/current/errcodes-appendix.html).
# {why} is the first line of PostgreSQL's message.
_BY_CODE = {
    "08P01": "is a pooler that refused: {why}",
    "25006": "is read-only: {why}. Is it a standby? DATABASE_URL should name the primary",
    "25P03": "has ended a transaction that was idle for too long: {why}",
    "3F000": NO_TABLES,
    "40001": "has ended a transaction that conflicted with another one, so repeat it: {why}",
    "40P01": "found a deadlock and ended one transaction: {why}",
    "42501": "refused: {why}. Has `alembic upgrade head` given this role its privileges?",
    "42703": "has tables of another version: {why}. Run `alembic upgrade head`",
    "42704": _SETTING,
    "42P01": NO_TABLES,
    "53100": "has no space left on its disk: {why}",
    "53200": "has no memory left: {why}",
    "53300": "has no connection free: {why}",
    "55P03": "keeps a row or a table locked for another transaction: {why}",
    "57014": "has ended a statement: {why}",
    "57P01": "has ended the connection: {why}",
    "57P02": "has ended the connection: {why}",
    "57P03": "is not ready: {why}",
    "58030": "cannot read or write its files: {why}",
}
# By a part of the message. A failed or broken connection often has no SQLSTATE.
_BY_MESSAGE = {
    "Connection refused": "refuses the connection. Is it running, and is the port right?",
    "No such file or directory": "refuses the connection. Is it running, and is the path right?",
    "timeout expired|timed out": "does not answer in time",
    "could not translate host name": "cannot be found: {why}",
    "authentication|no password supplied|no such user|role .* does not exist|pg_hba.conf": (
        "refused the login: {why}. Are the user and the password in DATABASE_URL right?"
    ),
    "database .* does not exist|no such database": (
        "has no such database: {why}. Is DATABASE_URL right?"
    ),
    "SSL|TLS|certificate": (
        "opened no encrypted connection: {why}. See sslmode and sslrootcert in DATABASE_URL"
    ),
    "too many clients|connection slots|too many connections|max_client_conn|no more connections": (
        "has no connection free: {why}"
    ),
    "starting up|shutting down|recovery": "is not ready: {why}",
    "query_wait_timeout|server_login_retry|server login|pgbouncer cannot connect": (
        "is a pooler that refused: {why}"
    ),
    "startup parameter|configuration parameter|invalid value for parameter": _SETTING,
    "No space left on device": "has no space left on its disk: {why}",
    "closed the connection|connection has been closed|EOF detected|connection already closed": (
        "has ended the connection"
    ),
    "Network is unreachable|No route to host": "cannot be reached: {why}",
}
_OTHER_TABLES = ("42P01", "42703")  # undefined_table, undefined_column
_OUR_VERSIONS = re.compile(r"\d{4}")  # as in migrations/versions
_CONNECTION = re.compile(
    r'connection to server (?:at "(?P<host>[^"]*)"(?: \([^)]*\))?, port (?P<port>\d+)'
    r'|on socket "(?P<socket>[^"]*)") failed: (?P<why>.*)'
)


def explain(error: SQLAlchemyError) -> str:
    """Summarise the error without the server's name: "refuses the connection. Is it …?"."""
    if isinstance(error, NoFreeConnection):
        return "was not asked: all connections of this process were in use for too long"
    if not isinstance(error, DBAPIError):
        return f"cannot be used: {error}"
    line = _first_line(error)
    why = re.sub(r"^[A-Z]+: +", "", line)
    code = _code(error)
    for pattern, summary in _BY_MESSAGE.items() if code is None else ():
        if re.search(pattern, why):
            return summary.format(why=why) + libpq_note()
    answered = code or line != why or not isinstance(error, OperationalError)
    verb = "refused" if answered else "does not answer"
    summary = _BY_CODE.get(code or "", f"{verb}: {{why}}").format(why=why)
    return summary if code else summary + libpq_note()


def describe(error: SQLAlchemyError) -> str:
    """Summarise the error: "PostgreSQL at 127.0.0.1:5999 refuses the connection. Is it …?"."""
    return f"{_server(error)} {explain(error)}"


def is_known(error: BaseException) -> bool:
    """Return True if one line describes the error, because the server or the network caused it.

    False means that the error may be a mistake in our own code, so its traceback is needed.
    """
    if isinstance(error, DBAPIError):
        return isinstance(error, OperationalError) or _code(error) in _BY_CODE
    return isinstance(error, NoFreeConnection)


def why_unusable(database_url: str) -> str | None:
    """Return why this database cannot serve orders now, in one line, or None if it can."""
    engine = connect(database_url, pool_size=1)
    try:
        with engine.connect() as view:
            for table in Base.metadata.sorted_tables:
                view.execute(select(*table.c).limit(0))
    except SQLAlchemyError as error:
        foreign = _foreign_content(engine) if _code(error) in _OTHER_TABLES else None
        return f"{_server(error)} {foreign}" if foreign else describe(error)
    finally:
        engine.dispose()
    return None


def _foreign_content(engine: Engine) -> str | None:
    """Return what is in the database of another project, or None if it may be this project's."""
    version = None
    try:
        tables = inspect(engine).get_table_names()
        if "alembic_version" in tables:
            tables.remove("alembic_version")
            with engine.connect() as view:
                version = view.scalar(text("SELECT max(version_num) FROM alembic_version"))
    except SQLAlchemyError:
        return None  # this role may not look; the first error says enough
    if _OUR_VERSIONS.fullmatch(version or "") or not (version or tables):
        return None
    has = f"the table {tables[0]}" if tables else "no tables"
    has += f" and the alembic_version {version}" if version else ""
    return (
        f"has a database of another project: it has {has}. Is DATABASE_URL right? "
        "Give this project a database of its own, then run `alembic upgrade head`"
    )


def _code(error: SQLAlchemyError) -> str | None:
    return getattr(getattr(error, "orig", None), "pgcode", None)


def _first_line(error: DBAPIError) -> str:
    """Return the first line of PostgreSQL's or libpq's message.

    It never has a part of the statement or its values.
    """
    text = str(error.orig).strip()
    failed = [*_CONNECTION.finditer(text)]  # libpq tries each address of a host
    line = failed[-1]["why"] if failed else text.partition("\n")[0]
    return line.strip().rstrip(".")


def _server(error: SQLAlchemyError) -> str:
    if server := getattr(error, SERVER_ATTRIBUTE, None):
        return f"PostgreSQL at {server}"
    if failed := [*_CONNECTION.finditer(str(getattr(error, "orig", "")))]:
        last = failed[-1]
        return f"PostgreSQL at {last['socket'] or last['host'] + ':' + last['port']}"
    return "PostgreSQL"
