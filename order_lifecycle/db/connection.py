"""How this project connects to PostgreSQL: the limits of a connection, and what its data means.

Each limit has its reason here, and nowhere else. An attempt of a step has 0.5 s by default, and
Temporal repeats one that took longer. So whatever holds a row for longer than that stands in the
way of the next attempt, and of whoever wants to cancel the order.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import psycopg2
from sqlalchemy import Connection, Engine, ExceptionContext, create_engine, event, make_url, text

# For the driver. A network that drops everything without a word is given up after about 10 s: by
# tcp_user_timeout (ms) if it does not take what is sent, by the keepalives (s) if no answer comes.
_DRIVER: dict[str, Any] = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}

# For the server, each value as SHOW writes it.
_SETTINGS = {
    # A statement of ours takes milliseconds. This ends one that a server in trouble keeps.
    "statement_timeout": "5s",
    # Whoever waits for a row holds a connection, of which a worker has ten. After this, its attempt
    # is over, and the next one waits as well.
    "lock_timeout": "500ms",
    # A client that is frozen (SIGSTOP, a paused container, a machine that sleeps) or cut off in the
    # middle of a transaction keeps its rows locked until the server ends its connection. One that
    # is only slow must not be cut: with 200 orders at once on two processors that had five times
    # too much to do, no pause between two statements of a transaction reached 150 ms.
    "idle_in_transaction_session_timeout": "500ms",
    # A time is shown alike, whatever PGTZ and the server's own configuration say.
    "timezone": "UTC",
}
# For a person or a tool, whose transaction is nobody's attempt.
_PATIENT = {"lock_timeout": "5s", "idle_in_transaction_session_timeout": "1min"}
# For one transaction that looks at all rows, or migrates. (Whoever waits for longer to lock a table
# would stop all orders, which wait behind it.)
TAKE_YOUR_TIME = text(
    "SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = '10s'; "
    "SET LOCAL idle_in_transaction_session_timeout = '1min'"
)
# For the server, too, and only where no pooler is between: about the connection itself. A client
# that the network lost is given up after about 10 s, also while it waits for a statement.
_CONNECTION = {
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "10s",
    "client_connection_check_interval": "2s",
}

_NOT_AT_THE_START = re.compile("startup parameter|configuration parameter|command-line options")


def connect(database_url: str, pool_size: int = 5, patient: bool = False) -> Engine:
    """Return an engine for `postgresql://…`. Nothing is sent until it is first used. `patient`: it
    may hold a transaction open for longer than an attempt of a step.

    `pool_size`: at most so many connections. A new one has 5 s, and whoever finds none free waits
    for 5 s: an activity that waits for longer is better retried. What the URL says itself
    (`?connect_timeout=30&options=-csearch_path%3Dorders`) wins over our own limits, but not over
    the encoding.

    The server gets our settings when a connection starts. A pooler such as PgBouncer may refuse
    them or ignore them there; then each transaction begins by setting them for itself. (Not by a
    plain SET, which a pooler would hand on to whoever gets the same connection next.)
    """
    url = make_url(database_url).set(drivername="postgresql+psycopg2")
    theirs = url.normalized_query
    their_settings, their_words = _read(" ".join(theirs.get("options", ())))
    settings = _SETTINGS | (_PATIENT if patient else {}) | their_settings
    at_the_start = " ".join([*their_words, *_options(_CONNECTION | settings)])
    engine = create_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=5,
        # So that the first query after a restart of PostgreSQL finds a living connection.
        pool_pre_ping=True,
        hide_parameters=True,  # an error message names no customer's address
        connect_args={
            **{name: limit for name, limit in _DRIVER.items() if name not in theirs},
            "options": at_the_start,
            "client_encoding": "utf8",  # else PGCLIENTENCODING decides what an address may be
        },
    )

    @event.listens_for(engine, "do_connect")
    def start(_: Any, __: Any, arguments: Any, options: dict[str, Any]) -> Any:
        try:
            return psycopg2.connect(*arguments, **options)
        except psycopg2.OperationalError as error:
            if not _NOT_AT_THE_START.search(str(error)):
                raise
        # Even if it is empty: without it, PGOPTIONS would be sent.
        return psycopg2.connect(*arguments, **options | {"options": " ".join(their_words)})

    @event.listens_for(engine, "connect")
    def compare(connection: Any, record: Any) -> None:
        """Find the settings that the server did not take at the start."""
        shown = f"SELECT {', '.join(['current_setting(%s, true)'] * len(settings))}"
        with connection.cursor() as cursor:
            cursor.execute(shown, [*settings])
            are = dict(zip(settings, cursor.fetchone(), strict=True))
        connection.rollback()
        record.info[_MISSING] = {
            name: value for name, value in settings.items() if are[name] != value
        }

    @event.listens_for(engine, "handle_error")
    def name_the_server(context: ExceptionContext) -> None:
        if context.sqlalchemy_exception is not None:
            setattr(context.sqlalchemy_exception, SERVER, server_address(database_url))

    event.listen(engine, "begin", _set_what_is_missing)
    return engine


# An attribute of each error of these engines: PostgreSQL's own words name no server.
SERVER = "order_lifecycle_server"
_MISSING = "settings for each transaction"


def _set_what_is_missing(connection: Connection) -> None:
    missing = connection.info.get(_MISSING)
    if missing:
        calls = ", ".join(["set_config(%s, %s, true)"] * len(missing))
        values = tuple(word for setting in missing.items() for word in setting)
        connection.exec_driver_sql(f"SELECT {calls}", values)


def _read(options: str) -> tuple[dict[str, str], list[str]]:
    """Split options in PostgreSQL's notation into its settings and the words that are not such:
    those of a pooler, for example."""
    words = iter(re.findall(r"(?:\\.|[^\s\\])+", options))
    settings: dict[str, str] = {}
    others: list[str] = []
    for word in words:
        setting = next(words, "") if word == "-c" else re.sub("^(-c|--)", "", word)
        name, equals, value = re.sub(r"\\(.)", r"\1", setting).partition("=")
        if equals and word.startswith(("-c", "--")):
            settings[name.replace("-", "_").lower()] = value
        else:
            others.append(word)
    return settings, others


def _options(settings: dict[str, str]) -> Iterable[str]:
    for name, value in settings.items():
        yield "-c " + re.sub(r"([\s\\])", r"\\\1", f"{name}={value}")


def server_address(database_url: str) -> str:
    """Name a server as `host:port`, or by the folder of its socket."""
    url = make_url(database_url)
    host = url.host or ",".join(url.normalized_query.get("host", ("localhost",)))
    host = f"[{host}]" if ":" in host else host
    return f"{'127.0.0.1' if host == 'localhost' else host}:{url.port or 5432}"


def database_name(database_url: str) -> str:
    """Name a database as `host:port/database`, without the user and the password."""
    return f"{server_address(database_url)}/{make_url(database_url).database}"
