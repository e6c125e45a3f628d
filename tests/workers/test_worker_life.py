"""How a worker process starts and stops."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url
from temporalio.client import WorkflowFailureError, WorkflowHandle

from order_lifecycle.client import connect, database_of_worker, pollers, start_order
from order_lifecycle.db.store import Store
from order_lifecycle.db.store import connect as connect_to_database
from order_lifecycle.domain import Policy
from order_lifecycle.settings import Settings
from order_lifecycle.workers.base import READY
from tests.support.orders import an_order
from tests.support.worker_process import WorkerProcess

Start = Callable[..., WorkerProcess]

WAYS: dict[str, Callable[[WorkerProcess], object]] = {
    "SIGTERM": lambda worker: worker.process.send_signal(signal.SIGTERM),
    "Ctrl-C": lambda worker: worker.process.send_signal(signal.SIGINT),
    "end of standard input": lambda worker: worker.process.stdin.close(),  # type: ignore[union-attr]
}


@pytest.mark.parametrize(
    ("way", "kind", "options"),
    [("SIGTERM", "order", []), ("Ctrl-C", "shipping", []), ("end of standard input", "order", ["--lifeline"])],
)
def test_a_worker_stops_when_asked_to(start_worker: Start, way: str, kind: str, options: list[str]) -> None:
    worker = start_worker(kind, *options)
    worker.until_said(f"{READY} {kind}-tq")
    WAYS[way](worker)
    assert worker.process.wait(10) == 0
    assert "stopped" in worker.said()
    assert "Traceback" not in worker.said()


@pytest.mark.parametrize(("kind", "queue"), [("order", "order-tq"), ("shipping", "shipping-tq")])
async def test_the_server_knows_a_worker_that_says_it_polls(
    start_worker: Start, settings: Settings, kind: str, queue: str
) -> None:
    worker = start_worker(kind)
    client = await connect(settings)
    worker.until_said(READY)
    assert str(worker.process.pid) in [polled.partition("@")[0] for polled in await pollers(client, queue)]


async def test_the_identity_of_a_worker_names_its_database_and_no_password(
    start_worker: Start, settings: Settings, database_url: str
) -> None:
    worker = start_worker("order")
    worker.until_said(READY)
    url = make_url(database_url)
    polled = await pollers(await connect(settings), "order-tq")
    (identity,) = [one for one in polled if one.startswith(f"{worker.process.pid}@")]
    assert database_of_worker(identity) == f"127.0.0.1:{url.port}/{url.database}"
    assert str(url.password) not in identity


async def test_a_stopping_worker_finishes_its_attempts(start_worker: Start, settings: Settings) -> None:
    worker = start_worker("order", "--faults-hang=1")
    worker.until_said(READY)
    order = an_order("hangs")
    handle = await start_order(await connect(settings), order, Policy())
    try:
        async with asyncio.timeout(20):
            await attempt_runs(handle)
        worker.process.send_signal(signal.SIGTERM)
        assert worker.process.wait(10) == 0
        assert "OutsideTimeoutError" in worker.said()  # the attempt had its time, and its failure was reported
    finally:
        await handle.terminate()


async def attempt_runs(handle: WorkflowHandle[Any, Any]) -> None:
    while True:
        pending = (await handle.describe()).raw_description.pending_activities
        if any(activity.HasField("last_started_time") for activity in pending):
            return
        await asyncio.sleep(0.02)  # between two looks


def test_a_worker_waits_for_its_servers(start_worker: Start, up: Callable[..., Any], tmp_path: Path) -> None:
    home = tmp_path / "home"
    environment = {**os.environ, "ORDER_LIFECYCLE_HOME": str(home)}
    workers = {kind: start_worker(kind, environment=environment) for kind in ("order", "shipping")}
    for worker in workers.values():
        worker.until_said("waiting: no")
    up(home).addresses()
    for kind, worker in workers.items():
        worker.until_said(f"{READY} {kind}-tq")
        assert worker.said().count("waiting: ") == 1
        assert worker.end() == 0


def test_a_worker_can_be_stopped_while_it_waits(start_worker: Start, tmp_path: Path) -> None:
    worker = start_worker("order", environment={**os.environ, "ORDER_LIFECYCLE_HOME": str(tmp_path)})
    worker.until_said("waiting: no")
    assert worker.end() == 0


async def test_the_budget_limits_an_order_that_no_worker_ships(
    start_worker: Start, settings: Settings, database_url: str
) -> None:
    start_worker("order").until_said(READY)
    order = an_order("nobody-ships")
    policy = Policy(budget=timedelta(seconds=2))
    handle = await start_order(await connect(settings), order, policy, approve=True)
    async with asyncio.timeout(20):
        with pytest.raises(WorkflowFailureError):
            await handle.result()
    engine = connect_to_database(database_url)
    (payment,) = Store(engine).rows("payments", "nobody-ships")
    assert payment["status"] == "refunded"
    tried = [row["type"] for row in Store(engine).rows("events", "nobody-ships")].count("dispatch_failed")
    assert tried == policy.shipping_tries
    engine.dispose()
