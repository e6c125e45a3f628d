"""The command `order-lifecycle demo`: start servers and workers, and ship one order."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

from order_lifecycle import streams
from order_lifecycle.cli.text_table import cell
from order_lifecycle.client import connect, start_order
from order_lifecycle.db.store import Store
from order_lifecycle.db.store import connect as connect_to_database
from order_lifecycle.domain import Policy, parse_order
from order_lifecycle.faults import Faults
from order_lifecycle.settings import Addresses, Settings
from order_lifecycle.stack.child_process import ChildProcess
from order_lifecycle.stack.child_servers import separate_stack
from order_lifecycle.workers.start import wait_until_ready, worker_command
from order_lifecycle.workflows.order import OrderWorkflow

ITEMS = '[{"name": "apple", "qty": 1, "price": 5.00}]'
ADDRESS = '{"address": "575 Lake Dr.", "city": "Columbus", "state": "OH", "zipcode": "43210"}'


async def demo(show_table: Callable[[str, Sequence[dict[str, Any]]], None]) -> None:
    """Start servers and workers, run one order, print its events as they happen, and show its rows.

    The demo uses servers of its own, even if the settings name others. In a database that stays,
    the order would exist already in the next demo.

    Raises:
        TimeoutError: If the order is not shipped within 60 s.
        StackError, WaitError: If a server or a worker does not start.
    """
    started = time.monotonic()

    def say(text: str) -> None:
        streams.write(f"{time.monotonic() - started:6.2f} s  {text}")

    say("starting an empty Temporal server and an empty PostgreSQL")
    with separate_stack() as addresses:
        say(f"Temporal is at {addresses.temporal_host}, its Web UI at {addresses.ui_url}")
        workers = [_worker("order"), _worker("shipping")]
        for worker in workers:
            wait_until_ready(worker)
        say("two workers poll their task queues: order-tq and shipping-tq")
        try:
            await _run_one_order(addresses, say, show_table)
        finally:
            for worker in workers:
                worker.stop()
    say("stopped everything; nothing is left behind. Next: `make lab`")


def _worker(kind: str) -> ChildProcess:
    # A worker is the application: it must not get the role that owns the tables.
    environment = {"DATABASE_OWNER_URL": ""}
    return ChildProcess(f"{kind} worker", worker_command(kind, Faults()), environment)


async def _run_one_order(
    addresses: Addresses,
    say: Callable[[str], None],
    show_table: Callable[[str, Sequence[dict[str, Any]]], None],
) -> None:
    store = Store(connect_to_database(addresses.database_url))
    order = parse_order("abc-001", "123", ITEMS, ADDRESS)
    handle = await start_order(await connect(Settings()), order, Policy())
    say(f"started the workflow {handle.id}")
    shown = 0
    approved = False
    async with asyncio.timeout(60):
        while True:
            events = store.rows("events", order.id)
            for event in events[shown:]:
                say(f"  {event['type']:<20} {cell(event['payload_json'])}".rstrip())
            shown = len(events)
            if events and events[-1]["type"] == "review_requested" and not approved:
                say("the order waits for a person: sending the signal approve_order")
                await handle.signal(OrderWorkflow.approve_order)
                approved = True
            if events and events[-1]["type"] == "order_shipped":
                break
            await asyncio.sleep(0.02)  # s until it reads the events again
    say(f"the workflow has ended: {(await handle.result()).state}")
    for name in ("orders", "payments", "events"):
        show_table(name, store.rows(name))
