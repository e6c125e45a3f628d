"""What is wrong with the database, in a line for whoever can mend it."""

from __future__ import annotations

import re

from sqlalchemy import Engine, inspect, select, text
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as NoFreeConnection

from order_lifecycle.db.connection import SERVER, connect
from order_lifecycle.db.models import Base
from order_lifecycle.environment import libpq_note

_SETTING = "does not take a setting: {why}. Is it from DATABASE_URL, or from a variable PG…?"
NO_TABLES = "has no such tables yet: run `alembic upgrade head`"

# By SQLSTATE, for a statement that failed (https://www.postgresql.org/docs/current/errcodes-appendix.html).
# {why} is PostgreSQL's own first line.
_BY_CODE = {
    "08P01": "is a pooler that says no: {why}",
    "25006": "is read-only: {why}. Is it a standby? DATABASE_URL should name the primary",
    "25P03": "has ended a transaction that did nothing for too long: {why}",
    "3F000": NO_TABLES,
    "40001": "could not order two transactions, so one has to be repeated: {why}",
    "40P01": "has ended one of two transactions that waited for each other: {why}",
    "42501": "says no: {why}. Has `alembic upgrade head` given this role its rights?",
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
# A connection that could not be made has no SQLSTATE, and one that broke often has none.
_BY_WORDS = {
    "Connection refused": "refuses the connection. Is it running, and is the port right?",
    "No such file or directory": "refuses the connection. Is it running, and is the path right?",
    "timeout expired|timed out": "does not answer in time",
    "could not translate host name": "cannot be found: {why}",
    "authentication|no password supplied|no such user|role .* does not exist|pg_hba.conf": (
        "lets nobody in like this: {why}. Are the user and the password in DATABASE_URL right?"
    ),
    "database .* does not exist|no such database": (
        "has no such database: {why}. Is DATABASE_URL right?"
    ),
    "SSL|TLS|certificate": (
        "makes no encrypted connection: {why}. See sslmode and sslrootcert in DATABASE_URL"
    ),
    "too many clients|connection slots|too many connections|max_client_conn|no more connections": (
        "has no connection free: {why}"
    ),
    "starting up|shutting down|recovery": "is not ready: {why}",
    "query_wait_timeout|server_login_retry|server login|pgbouncer cannot connect": (
        "is a pooler that says no: {why}"
    ),
    "startup parameter|configuration parameter|invalid value for parameter": _SETTING,
    "No space left on device": "has no space left on its disk: {why}",
    "closed the connection|connection has been closed|EOF detected|connection already closed": (
        "has ended the connection"
    ),
    "Network is unreachable|No route to host": "cannot be reached: {why}",
}
_OTHER_TABLES = ("42P01", "42703")
_OUR_VERSIONS = re.compile(r"\d{4}")  # see migrations/versions
_CONNECTION = re.compile(
    r'connection to server (?:at "(?P<host>[^"]*)"(?: \([^)]*\))?, port (?P<port>\d+)'
    r'|on socket "(?P<socket>[^"]*)") failed: (?P<why>.*)'
)


def say_what_is_wrong(error: SQLAlchemyError) -> str:
    """Say what is wrong, as it follows the name of a database: "refuses the connection …"."""
    if isinstance(error, NoFreeConnection):
        return "is waited for: all connections of this process were in use for too long"
    if not isinstance(error, DBAPIError):
        return f"cannot be used: {error}"
    line = _first_line(error)
    why = re.sub(r"^[A-Z]+: +", "", line)
    code = _code(error)
    for words, says in _BY_WORDS.items() if code is None else ():
        if re.search(words, why):
            return says.format(why=why) + libpq_note()
    answered = code or line != why or not isinstance(error, OperationalError)
    does = "says no" if answered else "does not answer"
    says = _BY_CODE.get(code or "", f"{does}: {{why}}").format(why=why)
    return says if code else says + libpq_note()


def describe(error: SQLAlchemyError) -> str:
    """Say what is wrong, and where: "PostgreSQL at 127.0.0.1:5999 refuses the connection …"."""
    return f"{_where(error)} {say_what_is_wrong(error)}"


def is_known(error: BaseException) -> bool:
    """Return True for a trouble of the server's or of the network's, which a line describes, and
    False for what may be a mistake in our own code."""
    if isinstance(error, DBAPIError):
        return isinstance(error, OperationalError) or _code(error) in _BY_CODE
    return isinstance(error, NoFreeConnection)


def why_unusable(database_url: str) -> str | None:
    """Look whether that database can serve orders now; if not, say why."""
    engine = connect(database_url, pool_size=1)
    try:
        with engine.connect() as view:
            for table in Base.metadata.sorted_tables:
                view.execute(select(*table.c).limit(0))
    except SQLAlchemyError as error:
        strange = _whose(engine) if _code(error) in _OTHER_TABLES else None
        return f"{_where(error)} {strange}" if strange else describe(error)
    finally:
        engine.dispose()
    return None


def _whose(engine: Engine) -> str | None:
    """Say what is in a database that does not look like ours, or None if it may be."""
    version = None
    try:
        tables = inspect(engine).get_table_names()
        if "alembic_version" in tables:
            tables.remove("alembic_version")
            with engine.connect() as view:
                version = view.scalar(text("SELECT max(version_num) FROM alembic_version"))
    except SQLAlchemyError:
        return None  # it may not be looked at; the error that led here says enough
    if _OUR_VERSIONS.fullmatch(version or "") or not (version or tables):
        return None
    has = f"the table {tables[0]}" if tables else "no tables"
    has += f" and the alembic_version {version}" if version else ""
    return (
        f"has a database that is not ours: it has {has}. Is DATABASE_URL right? "
        "Give this project one of its own, and run `alembic upgrade head`"
    )


def _code(error: SQLAlchemyError) -> str | None:
    return getattr(getattr(error, "orig", None), "pgcode", None)


def _first_line(error: DBAPIError) -> str:
    """PostgreSQL's or libpq's own words. Nothing of a statement and its values is among them."""
    text = str(error.orig).strip()
    failed = [*_CONNECTION.finditer(text)]  # one for each address of a host
    line = failed[-1]["why"] if failed else text.partition("\n")[0]
    return line.strip().rstrip(".")


def _where(error: SQLAlchemyError) -> str:
    if server := getattr(error, SERVER, None):
        return f"PostgreSQL at {server}"
    if failed := [*_CONNECTION.finditer(str(getattr(error, "orig", "")))]:
        last = failed[-1]
        return f"PostgreSQL at {last['socket'] or last['host'] + ':' + last['port']}"
    return "PostgreSQL"
