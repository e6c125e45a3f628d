"""Count what one order costs, and compare it with the least that its steps need.

The counts are of events in its history, calls to Temporal's server, rows, transactions and SQL statements.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from sqlalchemy import text
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.runtime import MetricBuffer, Runtime, TelemetryConfig
from temporalio.worker import Worker

from benchmarks.bare import QUEUES, BareOrder, BareShipping, bare_step
from benchmarks.orders import Start, start_bare, start_real
from benchmarks.report import Report
from benchmarks.servers import Servers, start_servers
from order_lifecycle.activities.order import OrderActivities
from order_lifecycle.activities.shipping import ShippingActivities
from order_lifecycle.client import register_search_attributes
from order_lifecycle.db.store import Store, connect
from order_lifecycle.workers.base import activity_methods
from order_lifecycle.workflows.order import ORDER_QUEUE, OrderWorkflow
from order_lifecycle.workflows.shipping import SHIPPING_QUEUE, ShippingWorkflow

# There are seven steps, each in a transaction of its own. Each change of state needs two statements: it changes the
# order's row and adds an event. validate_order makes two changes. The charge also adds a payment, and reads back the
# amount.
STEPS = 7
STATE_CHANGES = 8
LEAST_STATEMENTS = 2 * STATE_CHANGES + 2
LEAST_ROWS = {"orders": 1, "payments": 1, "events": STATE_CHANGES}
# Long polls, and the calls of a connection itself. Their number depends on how long an order takes, not on its steps.
NOT_COUNTED = re.compile("Poll|GetSystemInfo|DescribeNamespace|Heartbeat|GetWorkflowExecutionHistory")


async def measure_costs(report: Report) -> None:
    """Report what one order costs."""
    with start_servers() as servers:
        costs = {kind: await _calls_and_events(servers, kind) for kind in ("bare", "order")}
        rows, transactions, statements = await _in_the_database(servers)
    (calls, events), (bare_calls, bare_events) = costs["order"], costs["bare"]
    report.add(
        "history events of an order and its child",
        str(events),
        f"bare: {bare_events}",
        events / bare_events,
        "bare, and 2 per change of state for search attributes",
        events <= bare_events + 2 * STATE_CHANGES,
    )
    report.add("calls to Temporal's server per order", str(calls), f"bare: {bare_calls}", calls / bare_calls)
    report.add(
        "rows per order",
        ", ".join(f"{count} {table}" for table, count in rows.items()),
        goal=", ".join(f"{count} {table}" for table, count in LEAST_ROWS.items()),
        reached=rows == LEAST_ROWS,
    )
    report.add(
        "transactions per order",
        str(transactions),
        f"steps: {STEPS}",
        transactions / STEPS,
        "one per step, and one to read the address for the carrier",
        transactions <= STEPS + 1,
    )
    report.add(
        "statements per order, without BEGIN, COMMIT and the pool's ping",
        str(statements),
        f"the least: {LEAST_STATEMENTS}",
        statements / LEAST_STATEMENTS,
    )


async def _calls_and_events(servers: Servers, kind: str) -> tuple[int, int]:
    """Return an order's calls to the server, and the events in its history and its child's.

    The workers run in this process, so that the SDK's metrics count their calls.
    """
    buffer = MetricBuffer(100_000)
    runtime = Runtime(telemetry=TelemetryConfig(metrics=buffer))
    client = await Client.connect(
        servers.addresses.temporal_host, data_converter=pydantic_data_converter, runtime=runtime
    )
    await register_search_attributes(client)
    engine = connect(servers.addresses.database_url, pool_size=10)
    store = Store(engine)
    start: Start = start_real if kind == "order" else start_bare
    with ThreadPoolExecutor(20) as threads:

        def worker(queue: str, workflow: type, activities: Sequence[Callable[..., Any]]) -> Worker:
            return Worker(
                client, task_queue=queue, workflows=[workflow], activities=activities, activity_executor=threads
            )

        if kind == "order":
            orders = worker(ORDER_QUEUE, OrderWorkflow, activity_methods(OrderActivities(store)))
            shipping = worker(SHIPPING_QUEUE, ShippingWorkflow, activity_methods(ShippingActivities(store)))
        else:
            orders = worker(QUEUES["order"], BareOrder, [bare_step])
            shipping = worker(QUEUES["shipping"], BareShipping, [bare_step])
        async with orders, shipping:
            await (await start(client, "warm")).result()
            buffer.retrieve_updates()
            handle = await start(client, "counted")
            await handle.result()
            calls: Counter[str] = Counter()
            for update in buffer.retrieve_updates():
                if update.metric.name == "temporal_request":
                    calls[str(update.attributes["operation"])] += int(update.value)
    engine.dispose()
    child = "ship-counted-1" if kind == "order" else "ship-bare/counted"
    lengths = [(await each.describe()).history_length for each in (handle, client.get_workflow_handle(child))]
    return sum(count for name, count in calls.items() if not NOT_COUNTED.search(name)), sum(lengths)


async def _in_the_database(servers: Servers) -> tuple[dict[str, int], int, int]:
    """Return an order's rows by table, its transactions and its statements, as PostgreSQL logs them."""
    superuser = connect(servers.superuser_url)
    with superuser.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ALTER DATABASE orders SET log_statement = 'all'"))
    superuser.dispose()
    engine = connect(servers.addresses.database_url)

    def log() -> str:
        return Path(servers.addresses.home, "postgres.log").read_text()

    with servers.workers():
        client = await Client.connect(servers.addresses.temporal_host, data_converter=pydantic_data_converter)
        await (await start_real(client, "warm-2")).result()
        before = len(log())
        await (await start_real(client, "written")).result()
        await asyncio.sleep(0.1)  # PostgreSQL may still be writing its log
        said = log()[before:]
    store = Store(engine)
    rows = {name: len(store.rows(name, "written")) for name in LEAST_ROWS}
    engine.dispose()
    verbs = Counter(re.findall(r"statement: (\w+)", said))
    pings = len(re.findall(r"statement: (?:;|SELECT 1)?\s*$", said, re.MULTILINE))
    counted = sum(n for verb, n in verbs.items() if verb in ("INSERT", "UPDATE", "SELECT", "WITH", "DELETE"))
    return rows, verbs["COMMIT"] + verbs["ROLLBACK"], counted - pings
