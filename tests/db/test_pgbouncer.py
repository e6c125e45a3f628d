"""DATABASE_URL may name a pooler in transaction mode, where clients take turns on a connection."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import psycopg2
import pytest
from sqlalchemy import Engine, make_url, text
from sqlalchemy.exc import DBAPIError, OperationalError

from order_lifecycle.client import connect as connect_to_temporal
from order_lifecycle.client import start_order
from order_lifecycle.db.audit import audit
from order_lifecycle.db.connection import connect
from order_lifecycle.db.store import Store
from order_lifecycle.domain import OrderState, Policy
from order_lifecycle.settings import Settings
from order_lifecycle.stack.child_process import ChildProcess
from order_lifecycle.stack.migrate import migrate
from order_lifecycle.workers.start import worker_command
from order_lifecycle.workflows.order import OrderWorkflow
from tests.db.pooler import pgbouncer
from tests.db.rig import STEPS, TOTAL, bring
from tests.support.orders import an_order


@pytest.fixture
def pooled_url(database_url: str) -> Iterator[str]:
    with pgbouncer(database_url) as url:
        yield url


@pytest.fixture
def pooled(pooled_url: str) -> Iterator[Engine]:
    engine = connect(pooled_url)
    yield engine
    engine.dispose()


def shown(engine: Engine, setting: str) -> object:
    with engine.connect() as view:
        return view.scalar(text(f"SHOW {setting}"))


def test_the_pooler_of_these_tests_refuses_startup_parameters(pooled_url: str) -> None:
    """If it accepted them, the other tests here would prove nothing."""
    with pytest.raises(psycopg2.OperationalError, match="unsupported startup parameter: options"):
        psycopg2.connect(pooled_url, options="-c statement_timeout=5s")


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("statement_timeout", "5s"),
        ("lock_timeout", "500ms"),
        ("idle_in_transaction_session_timeout", "500ms"),
        ("timezone", "UTC"),
        ("client_encoding", "UTF8"),
    ],
)
def test_the_time_limits_hold_through_a_pooler(pooled: Engine, setting: str, value: str) -> None:
    assert shown(pooled, setting) == value


def test_the_time_limits_hold_where_the_pooler_ignores_startup_parameters(database_url: str) -> None:
    with pgbouncer(database_url, more="ignore_startup_parameters = options") as url:
        engine = connect(url)
        assert shown(engine, "statement_timeout") == "5s"
        assert shown(engine, "idle_in_transaction_session_timeout") == "500ms"
        engine.dispose()


def test_the_time_limits_do_not_reach_other_clients(pooled: Engine, pooled_url: str) -> None:
    """Our transactions and another client's take turns on the pooler's only connection."""
    with pgbouncer(pooled_url, connections=1) as narrow:
        ours = connect(narrow)
        assert shown(ours, "statement_timeout") == "5s"
        stranger = psycopg2.connect(narrow)
        with stranger.cursor() as cursor:
            cursor.execute("SELECT current_setting('statement_timeout'), current_setting('lock_timeout')")
            assert cursor.fetchone() == ("0", "0")
        stranger.close()
        assert shown(ours, "statement_timeout") == "5s"
        ours.dispose()


def test_a_statement_that_takes_too_long_is_cancelled(pooled_url: str) -> None:
    hasty = make_url(pooled_url).update_query_dict({"options": "-c statement_timeout=200ms"})
    engine = connect(hasty.render_as_string(hide_password=False))
    with engine.connect() as tx, pytest.raises(OperationalError, match="statement timeout"):
        tx.execute(text("SELECT pg_sleep(60)"))
    assert shown(engine, "statement_timeout") == "200ms"
    engine.dispose()


def test_waiting_for_a_lock_ends_before_the_attempt_does(pooled: Engine, pooled_url: str) -> None:
    store = Store(pooled)
    order = bring(store, OrderState.APPROVED)
    patient = connect(pooled_url, long_transactions=True)
    with patient.begin() as holder:
        holder.execute(text("SELECT FROM orders FOR UPDATE"))
        with pytest.raises(OperationalError, match="lock timeout"):
            store.charge(order.id, order.payment_id)
    assert store.charge(order.id, order.payment_id) == TOTAL
    patient.dispose()


def test_the_row_lock_of_an_idle_client_is_released(pooled: Engine) -> None:
    store = Store(pooled)
    order = bring(store, OrderState.APPROVED)
    with pooled.connect() as idle:
        idle.execute(text("SELECT FROM orders FOR UPDATE"))
        give_up = time.monotonic() + 30
        while True:
            try:
                assert store.charge(order.id, order.payment_id) == TOTAL
                break
            except OperationalError:
                assert time.monotonic() < give_up
        with pytest.raises(DBAPIError):
            idle.execute(text("SELECT 1"))
    assert store.rows("payments")[0]["status"] == "charged"  # by a connection that works


def test_the_store_and_the_audit_work_through_a_pooler(pooled: Engine) -> None:
    store = Store(pooled)

    def live(number: int) -> None:
        order = an_order(f"pooled-{number}")
        for step in STEPS.values():
            step(store, order)

    with ThreadPoolExecutor(5) as threads:  # more than the pooler has connections
        list(threads.map(live, range(10)))
    assert [row["state"] for row in store.rows("orders")] == ["shipped"] * 10
    assert audit(pooled) == []


async def test_two_workers_ship_an_order_through_a_pooler(pooled_url: str, settings: Settings) -> None:
    assert settings.temporal_host
    environment = {"DATABASE_URL": pooled_url, "TEMPORAL_HOST": settings.temporal_host}
    workers = [ChildProcess(f"{kind} worker", worker_command(kind), environment) for kind in ("order", "shipping")]
    order = an_order(f"pooled-{make_url(pooled_url).database}")
    handle = await start_order(await connect_to_temporal(settings), order, Policy(budget=timedelta(minutes=5)))
    await handle.signal(OrderWorkflow.approve_order)
    async with asyncio.timeout(90):
        assert (await handle.result()).state is OrderState.SHIPPED
    for worker in workers:
        worker.stop()
        assert "Traceback" not in worker.log()
    engine = connect(pooled_url)
    assert audit(engine) == []
    engine.dispose()


@pytest.mark.proof
def test_migrations_run_through_a_pooler(bare_database_url: str) -> None:
    """Two processes migrate at once, on connections that they share."""
    with pgbouncer(bare_database_url, connections=2) as url:
        migrates = [
            sys.executable,
            "-c",
            "import sys; from order_lifecycle.stack.migrate import *; migrate(sys.argv[1])",
        ]
        both = [subprocess.Popen([*migrates, url]) for _ in range(2)]
        assert [one.wait(90) for one in both] == [0, 0]
        engine = connect(url)
        bring(Store(engine), OrderState.SHIPPED)
        assert audit(engine) == []
        # Nothing is left behind on the connections that others get next.
        with engine.connect() as view:
            assert view.scalar(text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")) == 0
        assert shown(engine, "statement_timeout") == "5s"
        assert migrate(url).endswith("is the newest")
        engine.dispose()
