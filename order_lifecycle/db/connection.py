"""Connect to PostgreSQL, with time limits for each connection.

An attempt at a step has 0.5 s by default. After that, Temporal starts the next attempt. A
transaction that locks an order's row for longer blocks this next attempt, and a cancel too. The
limits below end such transactions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import psycopg2
from sqlalchemy import Connection, Engine, ExceptionContext, create_engine, event, make_url, text

# Options of libpq. They end a connection about 10 s after its network fails: tcp_user_timeout (ms)
# applies while data is sent, the keepalives (s) while we wait for an answer.
_DRIVER: dict[str, Any] = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}

# Settings of the server. Each value is written as SHOW prints it, because
# `find_missing_settings` compares the two.
_SETTINGS = {
    # Our statements take milliseconds. This ends a statement that hangs on a faulty server.
    "statement_timeout": "5s",
    # A transaction that waits for a row uses one of the worker's ten connections. After this time
    # its attempt is over anyway.
    "lock_timeout": "500ms",
    # A client may freeze (SIGSTOP, a paused container, a sleeping machine) or lose its network
    # in the middle of a transaction. Its rows stay locked until the server ends its connection.
    # A client that is only slow needs less: with 200 orders at once on two processors, and five
    # times more work than they could do, no pause inside a transaction reached 150 ms.
    "idle_in_transaction_session_timeout": "500ms",
    # Without this, PGTZ or the server's configuration would decide how times are shown.
    "timezone": "UTC",
}
# For people and tools: no attempt of a step waits for their transactions.
_LONG_TRANSACTIONS = {"lock_timeout": "5s", "idle_in_transaction_session_timeout": "1min"}
# For one transaction that reads all rows or migrates. lock_timeout stays bounded: while a
# transaction waits for a lock on a whole table, all orders wait behind it.
LONG_TRANSACTION = text(
    "SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = '10s'; "
    "SET LOCAL idle_in_transaction_session_timeout = '1min'"
)
# Settings of the server about the connection itself, for a connection without a pooler. They end
# it about 10 s after the client was lost, even while a statement runs.
_CONNECTION = {
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "10s",
    "client_connection_check_interval": "2s",
}

# What a pooler answers that accepts no settings when a connection starts.
_REFUSES_SETTINGS = re.compile("startup parameter|configuration parameter|command-line options")


def connect(database_url: str, pool_size: int = 5, long_transactions: bool = False) -> Engine:
    """Return an engine for a URL `postgresql://…`. It connects when it is first used.

    What the URL itself sets (`?connect_timeout=30&options=-csearch_path%3Dorders`) overrides the
    limits of this module, but not the encoding.

    The server gets our settings when a connection starts. A pooler such as PgBouncer may refuse or
    ignore them there. Then each transaction begins by setting them for itself, but not by a plain
    SET: that would stay on the connection, which the pooler gives to another client next.

    Args:
        database_url: The URL, with user and password.
        pool_size: The most connections that the engine opens. A new connection must be made within
            5 s, and a caller waits 5 s for a free one. After that it is better to retry.
        long_transactions: Allow a transaction to stay open longer than an attempt of a step.
    """
    url = make_url(database_url).set(drivername="postgresql+psycopg2")
    in_url = url.normalized_query
    url_settings, url_words = _split_options(" ".join(in_url.get("options", ())))
    settings = _SETTINGS | (_LONG_TRANSACTIONS if long_transactions else {}) | url_settings
    all_options = " ".join([*url_words, *_as_options(_CONNECTION | settings)])
    engine = create_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=5,
        # Without this, the first query after a restart of PostgreSQL fails.
        pool_pre_ping=True,
        hide_parameters=True,  # otherwise an error message may show a customer's address
        connect_args={
            **{name: limit for name, limit in _DRIVER.items() if name not in in_url},
            "options": all_options,
            "client_encoding": "utf8",  # PGCLIENTENCODING could make some addresses unstorable
        },
    )

    @event.listens_for(engine, "do_connect")
    def open_connection(_: Any, __: Any, arguments: Any, options: dict[str, Any]) -> Any:
        try:
            return psycopg2.connect(*arguments, **options)
        except psycopg2.OperationalError as error:
            if not _REFUSES_SETTINGS.search(str(error)):
                raise
        # Pass `options` even if it is empty: otherwise libpq sends PGOPTIONS.
        return psycopg2.connect(*arguments, **options | {"options": " ".join(url_words)})

    @event.listens_for(engine, "connect")
    def find_missing_settings(connection: Any, record: Any) -> None:
        """Remember the settings that the server did not accept when the connection started."""
        shown = f"SELECT {', '.join(['current_setting(%s, true)'] * len(settings))}"
        with connection.cursor() as cursor:
            cursor.execute(shown, [*settings])
            actual = dict(zip(settings, cursor.fetchone(), strict=True))
        connection.rollback()
        record.info[_MISSING] = {
            name: value for name, value in settings.items() if actual[name] != value
        }

    @event.listens_for(engine, "handle_error")
    def name_the_server(context: ExceptionContext) -> None:
        if context.sqlalchemy_exception is not None:
            setattr(context.sqlalchemy_exception, SERVER_ATTRIBUTE, server_address(database_url))

    event.listen(engine, "begin", _apply_missing_settings)
    return engine


# Each error of these engines has this attribute. PostgreSQL's own message does not name the server.
SERVER_ATTRIBUTE = "order_lifecycle_server"
_MISSING = "settings for each transaction"


def _apply_missing_settings(connection: Connection) -> None:
    missing = connection.info.get(_MISSING)
    if missing:
        calls = ", ".join(["set_config(%s, %s, true)"] * len(missing))
        values = tuple(word for setting in missing.items() for word in setting)
        connection.exec_driver_sql(f"SELECT {calls}", values)


def _split_options(options: str) -> tuple[dict[str, str], list[str]]:
    """Split libpq's `options` into settings (`-c name=value`) and other words, such as a pooler's.

    https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNECT-OPTIONS
    """
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


def _as_options(settings: dict[str, str]) -> Iterable[str]:
    for name, value in settings.items():
        yield "-c " + re.sub(r"([\s\\])", r"\\\1", f"{name}={value}")


def server_address(database_url: str) -> str:
    """Return the server's `host:port`; for a socket, the folder of the socket is the host."""
    url = make_url(database_url)
    host = url.host or ",".join(url.normalized_query.get("host", ("localhost",)))
    host = f"[{host}]" if ":" in host else host
    return f"{'127.0.0.1' if host == 'localhost' else host}:{url.port or 5432}"


def database_name(database_url: str) -> str:
    """Return `host:port/database`, without the user and the password."""
    return f"{server_address(database_url)}/{make_url(database_url).database}"
