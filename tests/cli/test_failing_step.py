"""`status` names the innermost cause of a failing step in one line, however Temporal wraps it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from temporalio.api.failure.v1 import Failure
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.worker import Worker

from order_lifecycle.activities.order import OrderActivities
from order_lifecycle.cli import report
from order_lifecycle.cli.report import LONGEST_FAILURE
from order_lifecycle.client import connect as connect_to_temporal
from order_lifecycle.client import register_search_attributes, start_order
from order_lifecycle.db.store import Store, connect
from order_lifecycle.domain import Policy, parse_order
from order_lifecycle.settings import Settings
from order_lifecycle.workers.base import activity_methods
from order_lifecycle.workflows.order import ORDER_QUEUE, OrderWorkflow
from tests.support.command_line import Answer

ITEMS = '[{"name":"apple","qty":1,"price":5.00}]'
ADDRESS = '{"address":"575 Lake Dr.","city":"Columbus"}'
Command = Callable[..., Answer]


def last_failure(*messages: str) -> str | None:
    """Return what is shown of a failure with these messages, from the outermost to the innermost."""
    failure = Failure()
    inner = failure
    for number, message in enumerate(messages):
        inner = inner.cause if number else inner
        inner.message = message
    return report._pending(PendingActivityInfo(last_failure=failure)).last_failure


def test_the_innermost_cause_is_shown_in_one_line() -> None:
    assert last_failure("Activity task failed", "order abc-001 is shipped") == "order abc-001 is shipped"
    assert last_failure("Failure exceeds size limit.", "it broke", "refused\n\tIs it running?") == "refused"
    assert last_failure("Activity task timed out", "") == "Activity task timed out"
    assert last_failure("") is None
    long = last_failure("Failure exceeds size limit.", "x" * 9_000)
    assert long == "x" * (LONGEST_FAILURE - 1) + "…"


async def test_status_names_a_database_that_refuses_connections(
    inside: Command, settings: Settings, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TEMPORAL_HOST", "DATABASE_URL"):
        monkeypatch.setenv(name, environment[name])
    client = await connect_to_temporal(settings)
    await register_search_attributes(client)
    engine = connect("postgresql://orders:a-password@127.0.0.1:1/orders")
    with ThreadPoolExecutor(2) as threads:
        async with Worker(
            client,
            task_queue=ORDER_QUEUE,
            workflows=[OrderWorkflow],
            activities=activity_methods(OrderActivities(Store(engine))),
            activity_executor=threads,
        ):
            order = parse_order("no-database", "pay-no-database", ITEMS, ADDRESS)
            handle = await start_order(client, order, Policy())
            async with asyncio.timeout(60):
                while True:
                    told = (await asyncio.to_thread(inside, "status", "no-database")).out
                    if "last failure" in told:
                        break
            await handle.terminate()
    engine.dispose()
    line = next(line for line in told.splitlines() if "last failure" in line)
    assert line.startswith("  attempt    receive_order, number ")
    assert "PostgreSQL at 127.0.0.1:1 refuses the connection" in line
    assert "Failure exceeds size limit" not in told
    assert "a-password" not in told


def test_a_report_shows_invisible_characters_as_escapes() -> None:
    pending = report.PendingActivity(step="charge", attempt=2, running=False, last_failure="no\u202e\x1b[2J")
    shown = report.Report(
        order_id="abc-001",
        workflow="running",
        state="approved",
        status=None,
        pending=[pending],
        events=["late_signal  \u2066cancel\nforged line"],
    ).as_text()
    assert r"last failure: no\u202e\x1b[2J" in shown
    assert r"\u2066cancel\nforged line" in shown
    assert {"\u202e", "\x1b", "\u2066"}.isdisjoint(shown)
