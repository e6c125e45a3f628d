"""The connection to the database: its limits, and which details its errors show and hide."""

from __future__ import annotations

import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import URL, Engine, create_engine, make_url, text
from sqlalchemy.exc import DBAPIError, OperationalError, ProgrammingError

from order_lifecycle.db import connection
from order_lifecycle.db.connection import connect, database_name
from order_lifecycle.db.store import Store
from order_lifecycle.domain import Address, OrderState
from order_lifecycle.stack.errors import StackError
from order_lifecycle.stack.migrate import migrate
from tests.db.rig import RUN, TOTAL, bring
from tests.support.orders import an_order

PASSWORD = "do-not-tell"


@pytest.fixture
def engine(engine: Engine) -> Iterator[Engine]:
    """Connect as a worker does."""
    ours = connect(engine.url.render_as_string(hide_password=False))
    yield ours
    ours.dispose()


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg2"])
def test_every_spelling_of_the_address_works(engine: Engine, scheme: str) -> None:
    same = connect(engine.url.set(drivername=scheme).render_as_string(hide_password=False))
    with same.connect() as view:
        assert view.scalar(text("SELECT count(*) FROM orders")) == 0
    same.dispose()


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("postgresql://me:secret@db.example.com:6432/orders?sslmode=require", "db.example.com:6432/orders"),
        ("postgresql://me:secret@localhost/orders", "127.0.0.1:5432/orders"),
        ("postgresql://me:secret@[::1]:5433/orders", "[::1]:5433/orders"),
        ("postgresql:///orders?host=/run/postgresql&password=secret", "/run/postgresql:5432/orders"),
    ],
)
def test_the_name_of_a_database_shows_no_password(url: str, name: str) -> None:
    assert database_name(url) == name


def test_a_statement_has_a_time_limit(engine: Engine) -> None:
    with engine.connect() as view:
        assert view.scalar(text("SHOW statement_timeout")) == "5s"


def test_waiting_for_a_free_connection_is_limited_to_five_seconds(engine: Engine) -> None:
    assert engine.pool.timeout() == 5  # type: ignore[attr-defined]


# All in seconds, but the last.
LIMITS = {
    "connect_timeout": "5",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
}


def limits(url: URL) -> dict[str, str]:
    """Return the limits that a new connection really has."""
    engine = connect(url.render_as_string(hide_password=False))
    with engine.connect() as view:
        told = view.connection.driver_connection.info.dsn_parameters  # type: ignore[union-attr]
    engine.dispose()
    return {name: told[name] for name in LIMITS}


def test_connection_limits_are_ours_unless_the_address_sets_others(engine: Engine) -> None:
    assert limits(engine.url) == LIMITS
    theirs = dict.fromkeys(LIMITS, "7")
    assert limits(engine.url.update_query_dict(theirs)) == theirs


def test_options_in_the_address_are_kept_beside_ours(owner_url: str) -> None:
    """The options choose a schema, for example."""

    def shown(options: str) -> tuple[str, str]:
        url = make_url(owner_url).update_query_dict({"options": options})
        engine = connect(url.render_as_string(hide_password=False))
        with engine.begin() as tx:
            tx.execute(text("CREATE SCHEMA IF NOT EXISTS elsewhere"))
            schema, limit = tx.scalar(text("SELECT current_schema()")), tx.scalar(text("SHOW statement_timeout"))
        engine.dispose()
        return schema, limit

    assert shown("-csearch_path=elsewhere") == ("elsewhere", "5s")
    assert shown("-csearch_path=elsewhere -cstatement_timeout=7000") == ("elsewhere", "7s")


WITHOUT_A_FREE_CONNECTION = """
import logging, sys
from sqlalchemy import create_engine
from order_lifecycle import logs

def attempt(what):
    try:
        what()
    except Exception:
        logging.exception("an attempt failed")

def late():
    raise TimeoutError

logs.configure(as_json=False)
engine = create_engine(sys.argv[1], pool_size=1, max_overflow=0, pool_timeout=0.1)
with engine.connect():
    attempt(engine.connect)
attempt(late)
"""


def test_a_full_pool_is_reported_in_one_line(engine: Engine) -> None:
    url = engine.url.render_as_string(hide_password=False)
    command = [sys.executable, "-c", WITHOUT_A_FREE_CONNECTION, url]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stderr
    in_a_line, with_a_traceback = said.split("an attempt failed")[1:]
    assert "error=" in in_a_line
    assert "all connections of this process were in use" in in_a_line
    assert "Traceback" not in in_a_line
    assert "Traceback" in with_a_traceback  # any other timeout is a surprise


def test_a_connection_that_was_cut_while_idle_is_replaced(engine: Engine) -> None:
    with engine.connect() as one, engine.connect() as two:
        number = two.scalar(text("SELECT pg_backend_pid()"))
        two.close()
        assert one.scalar(text("SELECT pg_terminate_backend(:number, 5000)"), {"number": number})
        with engine.connect() as again:
            assert again.scalar(text("SELECT pg_backend_pid()")) != number


@pytest.mark.parametrize(
    ("changed", "says"),
    [({"port": 1}, "Connection refused"), ({}, "password authentication failed")],
    ids=["nobody listens", "the wrong password"],
)
def test_no_error_shows_the_password(engine: Engine, changed: dict[str, Any], says: str) -> None:
    url = engine.url.set(password=PASSWORD, **changed).render_as_string(hide_password=False)
    ours = connect(url)
    with pytest.raises(OperationalError, match=says) as error:
        ours.connect()
    with pytest.raises(StackError, match=says) as migration:
        migrate(url)
    for shown in [ours, ours.url, error.value, migration.value, *error.value.args]:
        assert PASSWORD not in f"{shown} {shown!r}"
    for exception in [error.value, migration.value]:
        assert PASSWORD not in "".join(traceback.format_exception(exception))


def test_a_database_that_does_not_exist_is_named(engine: Engine) -> None:
    with pytest.raises(OperationalError, match='database "nothing" does not exist'):
        connect(engine.url.set(database="nothing").render_as_string(hide_password=False)).connect()


def test_a_database_without_tables_is_named(bare_database_url: str) -> None:
    engine = connect(bare_database_url)
    with engine.connect() as view, pytest.raises(ProgrammingError, match='relation "orders" does not exist'):
        view.execute(text("SELECT FROM orders"))
    engine.dispose()


def test_no_error_shows_a_customers_address(engine: Engine) -> None:
    with engine.connect() as tx, pytest.raises(DBAPIError) as error:
        tx.execute(text("SELECT 1 / 0, :street"), {"street": "575 Lake Dr."})
    assert "575 Lake Dr." not in str(error.value)


# --- whatever the environment and the server say ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PGCLIENTENCODING", "LATIN1"),
        ("PGCLIENTENCODING", "no such encoding"),
        ("PGDATESTYLE", "German"),
        ("PGTZ", "Asia/Tokyo"),
        ("PGOPTIONS", "-c timezone=Asia/Tokyo -c datestyle=German -c client_encoding=latin1"),
        ("PGOPTIONS", "-c search_path=nowhere -c statement_timeout=1"),
    ],
)
def test_no_environment_variable_changes_how_data_is_read(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    ours = connect(engine.url.render_as_string(hide_password=False))
    tokyo = Address(address="千代田区", city="東京", state="東京都", zipcode="100-0001")
    store = Store(ours)
    store.receive(an_order("far").model_copy(update={"address": tokyo}), RUN)
    assert store.address("far") == tokyo
    (row,) = store.rows("orders")
    assert row["created_at"].utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - row["created_at"]) < timedelta(minutes=5)
    ours.dispose()


def test_the_servers_time_zone_does_not_change_times(database_url: str, owner_url: str) -> None:
    admin = create_engine(owner_url, isolation_level="AUTOCOMMIT")
    with admin.connect() as server:
        server.execute(text(f"ALTER DATABASE {admin.url.database} SET timezone TO 'Europe/Berlin'"))
    admin.dispose()
    ours = connect(database_url)
    with ours.connect() as view:
        assert view.scalar(text("SHOW timezone")) == "UTC"
    ours.dispose()


def test_a_parameter_unknown_to_the_server_is_skipped_alone(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An older PostgreSQL, or one on another operating system, does not know every parameter."""
    monkeypatch.setitem(connection._CONNECTION, "client_connection_check_intervals", "2s")
    ours = connect(database_url)
    with ours.connect() as view:
        assert view.scalar(text("SHOW statement_timeout")) == "5s"
        assert view.scalar(text("SHOW lock_timeout")) == "500ms"
    ours.dispose()


@pytest.mark.parametrize(
    ("options", "settings", "words"),
    [
        ("-csearch_path=a -c lock_timeout=7s", {"search_path": "a", "lock_timeout": "7s"}, []),
        (r"-c search_path=a,\ b --statement-timeout=0", {"search_path": "a, b", "statement_timeout": "0"}, []),
        ("endpoint=ep-cool -c TimeZone=CET", {"timezone": "CET"}, ["endpoint=ep-cool"]),
        ("", {}, []),
    ],
)
def test_options_in_postgresqls_notation_are_read(options: str, settings: dict[str, str], words: list[str]) -> None:
    assert connection._split_options(options) == (settings, words)


def test_waiting_for_a_lock_ends_before_the_attempt_does(engine: Engine, one_engine: Engine) -> None:
    store = Store(engine)
    order = bring(store, OrderState.APPROVED)
    with one_engine.begin() as holder:
        holder.execute(text("SELECT FROM orders FOR UPDATE"))
        with pytest.raises(OperationalError, match="lock timeout"):
            store.charge(order.id, order.payment_id)
    assert store.charge(order.id, order.payment_id) == TOTAL


# --- a client that does nothing --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("lock_timeout", "500ms"),
        ("idle_in_transaction_session_timeout", "500ms"),
        ("tcp_keepalives_idle", "5"),
        ("tcp_keepalives_interval", "2"),
        ("tcp_keepalives_count", "3"),
        ("tcp_user_timeout", "10000"),
        ("client_connection_check_interval", "2s"),
    ],
)
def test_lock_waits_idle_transactions_and_dead_connections_have_limits(
    engine: Engine, setting: str, value: str
) -> None:
    with engine.connect() as view:
        assert view.scalar(text(f"SHOW {setting}")) == value


def test_the_row_lock_of_a_frozen_client_is_released(store: Store, engine: Engine) -> None:
    order = bring(store, OrderState.APPROVED)
    with engine.connect() as frozen:
        frozen.execute(text("SELECT FROM orders FOR UPDATE"))
        give_up = time.monotonic() + 30
        while store.rows("payments") == []:
            assert time.monotonic() < give_up, "still locked"
            with suppress(OperationalError):
                store.charge(order.id, order.payment_id)
        with pytest.raises(DBAPIError, match=r"idle-in-transaction timeout|closed the connection") as cut:
            frozen.execute(text("SELECT 1"))
        assert cut.value.connection_invalidated  # so that the pool makes a new one
    assert store.charge(order.id, order.payment_id) == TOTAL
