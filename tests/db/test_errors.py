"""Each error of a real PostgreSQL is described in one line, without a secret."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import NullPool, create_engine, make_url, text
from sqlalchemy.exc import SQLAlchemyError

from order_lifecycle.db.connection import connect
from order_lifecycle.db.errors import describe, is_known, why_unusable
from tests.db.pooler import pgbouncer

SECRET = "do-not-tell"


def told(url: str, statement: str = "SELECT 1") -> str:
    """Return the description of the error that the statement, or its connection, raises."""
    engine = connect(url)
    try:
        with pytest.raises(SQLAlchemyError) as error, engine.connect() as tx:
            tx.exec_driver_sql(statement)
    finally:
        engine.dispose()
    assert is_known(error.value)
    words = describe(error.value)
    assert "\n" not in words
    assert str(make_url(url).password) not in words
    return words


def changed(url: str, **parts: Any) -> str:
    return make_url(url).set(**parts).render_as_string(hide_password=False)


def with_query(url: str, **query: str) -> str:
    return make_url(url).update_query_dict(query).render_as_string(hide_password=False)


def administer(url: str, statement: str) -> None:
    with create_engine(url, isolation_level="AUTOCOMMIT", poolclass=NullPool).connect() as server:
        server.execute(text(statement))


CONNECTIONS: dict[str, tuple[Callable[[str], str], str]] = {
    "nobody listens": (lambda url: changed(url, port=1), "PostgreSQL at 127.0.0.1:1 refuses the connection."),
    "nobody listens at a name": (
        lambda url: changed(url, host="localhost", port=1),
        "PostgreSQL at 127.0.0.1:1 refuses the connection.",
    ),
    "no such socket": (
        lambda url: "postgresql://me:secret@/orders?host=/nowhere",
        "PostgreSQL at /nowhere:",
    ),
    "no such host": (
        lambda url: changed(url, host="nowhere.invalid"),
        'cannot be found: could not translate host name "nowhere.invalid"',
    ),
    "a wrong password": (
        lambda url: changed(url, password=SECRET),
        'refused the login: password authentication failed for user "orders".',
    ),
    "no such user": (
        lambda url: changed(url, username="nobody-here", password=SECRET),
        'refused the login: password authentication failed for user "nobody-here".',
    ),
    "no such database": (
        lambda url: changed(url, database="nothing"),
        'has no such database: database "nothing" does not exist.',
    ),
    "no encryption": (
        lambda url: with_query(url, sslmode="require"),
        "opened no encrypted connection: server does not",
    ),
    "a setting that there is not": (
        lambda url: with_query(url, options="-c no_such_setting=1"),
        'unrecognized configuration parameter "no_such_setting"',
    ),
}


@pytest.mark.parametrize("name", CONNECTIONS)
def test_a_failed_connection_is_described(database_url: str, name: str) -> None:
    change, says = CONNECTIONS[name]
    assert says in told(change(database_url))


def test_a_server_that_asks_for_a_password_is_described(database_url: str) -> None:
    """An impostor on the port would ask for it to learn it."""
    with impostor() as port:
        words = told(with_query(changed(database_url, port=port), require_auth="scram-sha-256"))
    assert "refused the login: " in words
    assert "server requested a cleartext password" in words


@contextmanager
def impostor() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as thread:

        def ask() -> None:
            while True:
                try:
                    client, _ = server.accept()
                except OSError:  # it is closed
                    return
                with client:
                    while (start := client.recv(1024)) and start[4:8] in (b"\x04\xd2\x16\x2f", b"\x04\xd2\x16\x30"):
                        client.sendall(b"N")  # no encryption
                    client.sendall(b"R\x00\x00\x00\x08\x00\x00\x00\x03")
                    client.recv(1024)

        thread.submit(ask)
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


def test_a_server_that_accepts_and_does_not_answer_is_described(database_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = with_query(changed(database_url, port=silent.getsockname()[1]), connect_timeout="2")
        assert told(url).endswith("does not answer in time")


def test_a_full_pool_is_described(database_url: str, owner_url: str) -> None:
    administer(owner_url, f"ALTER DATABASE {make_url(owner_url).database} CONNECTION LIMIT 0")
    assert "has no connection free: too many connections for database" in told(database_url)


STATEMENTS = {
    "CREATE TABLE mine ()": "refused: permission denied for schema public. Has `alembic upgrade head`",
    "DELETE FROM events": "refused: permission denied for table events",
    "SET TRANSACTION READ ONLY; UPDATE orders SET state = state": "is read-only: cannot execute UPDATE in a read-only",
    "SET LOCAL statement_timeout = 10; SELECT pg_sleep(60)": "has ended a statement: canceling statement due to st",
    "SELECT FROM nowhere": "has no tables for orders yet: run `alembic upgrade head`",
    "SELECT nothing FROM orders": 'has tables of another version: column "nothing" does not exist',
    "SELECT pg_terminate_backend(pg_backend_pid())": "has ended the connection",
    # What a full disk, or a server without memory, raises.
    "DO $$ BEGIN RAISE 'could not extend file' USING ERRCODE = '53100'; END $$": "has no space left on its disk: could",
    "DO $$ BEGIN RAISE 'out of memory' USING ERRCODE = '53200'; END $$": "has no memory left: out of memory",
    "DO $$ BEGIN RAISE 'deadlock detected' USING ERRCODE = '40P01'; END $$": "found a deadlock and ended one trans",
}


@pytest.mark.parametrize("statement", STATEMENTS)
def test_a_failed_statement_is_described(database_url: str, statement: str) -> None:
    words = told(database_url, statement)
    assert words.startswith(f"PostgreSQL at 127.0.0.1:{make_url(database_url).port} ")
    assert STATEMENTS[statement] in words


def test_a_locked_row_is_described(database_url: str, owner_url: str) -> None:
    patient = connect(owner_url, long_transactions=True)
    with patient.begin() as holder:
        holder.execute(text("LOCK TABLE orders"))
        assert "keeps a row or a table locked for another transaction: " in told(database_url, "SELECT FROM orders")
    patient.dispose()


def test_a_bug_of_ours_is_not_described_as_a_server_error(database_url: str) -> None:
    engine = connect(database_url)
    with engine.connect() as tx, pytest.raises(SQLAlchemyError) as error:
        tx.exec_driver_sql("SELEC 1")
    assert not is_known(error.value)
    engine.dispose()


# --- PgBouncer's own troubles ----------------------------------------------------------------------------------------


@pytest.fixture
def pooled_url(database_url: str) -> Iterator[str]:
    with pgbouncer(database_url, clients=1) as url:
        yield url


def test_a_full_pooler_is_described(pooled_url: str) -> None:
    first = connect(pooled_url)
    with first.connect():
        assert "has no connection free: no more connections allowed (max_client_conn)" in told(pooled_url)
    first.dispose()


def test_a_pooler_that_refuses_the_password_is_described(pooled_url: str) -> None:
    assert "refused the login: " in told(changed(pooled_url, password=SECRET))


# --- before the first order ------------------------------------------------------------------------------------------


def test_a_migrated_database_is_usable(database_url: str) -> None:
    assert why_unusable(database_url) is None


def test_a_database_without_tables_is_not_usable(bare_database_url: str) -> None:
    why = why_unusable(bare_database_url)
    assert why
    assert why.endswith("has no tables for orders yet: run `alembic upgrade head`")


THEIRS = "CREATE TABLE alembic_version (version_num text); INSERT INTO alembic_version VALUES ('27c6a30d7c24')"


@pytest.mark.parametrize(
    ("made_by", "says"),
    [
        ("CREATE TABLE things (id int)", "it has the table things. Is DATABASE_URL right?"),
        (THEIRS, "it has no tables and the alembic_version 27c6a30d7c24. Is DATABASE_URL right?"),
        (f"CREATE TABLE orders (id int); {THEIRS}", "it has the table orders and the alembic_version 27c6a30d7c24."),
    ],
)
def test_a_database_of_another_project_is_not_usable(bare_database_url: str, made_by: str, says: str) -> None:
    administer(bare_database_url, made_by)
    why = why_unusable(bare_database_url)
    assert why
    assert f"has a database of another project: {says}" in why


def test_a_database_of_another_version_is_not_usable(owner_url: str, database_url: str) -> None:
    administer(owner_url, "ALTER TABLE payments RENAME COLUMN amount TO sum")
    why = why_unusable(database_url)
    assert why
    assert "has tables of another version: column payments.amount does not exist" in why
