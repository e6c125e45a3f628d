"""Compare ways to retry a failed step, while a third of all outside calls fails and a third hangs.

    python -m benchmarks.retries --orders 100

The orders are bare ones. They meet the same failures each way, so only the way to retry differs.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import mean
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from temporalio.client import Client

from benchmarks.bare import QUEUES, STEPS, BareOrder, Plan, Retries
from benchmarks.quantiles import quantile
from benchmarks.servers import AS_SHIPPED, start_servers
from order_lifecycle.activities.base import CALL_SHARE
from order_lifecycle.client import connect
from order_lifecycle.faults import Faults, OutsideError, OutsideTimeoutError
from order_lifecycle.stack import process
from order_lifecycle.stack.temporal import DYNAMIC_CONFIG
from order_lifecycle.workflows.attempts import BACKOFF

FAIL = HANG = 1 / 3
BUDGET = 15.0  # s


@dataclass(frozen=True)
class Way:
    """One way to retry a failed step."""

    server: str
    dynamic_config: Mapping[str, str]
    retries: Retries
    attempts_seen: str  # when people can see an attempt


WAYS = (
    Way("as shipped", AS_SHIPPED, Retries.START_TO_CLOSE, "at once"),
    Way("as shipped", AS_SHIPPED, Retries.CALL_LIMIT, "at once"),
    Way("quick timers", DYNAMIC_CONFIG, Retries.START_TO_CLOSE, "at once"),
    Way("quick timers", DYNAMIC_CONFIG, Retries.CALL_LIMIT, "at once"),
    Way("quick timers", DYNAMIC_CONFIG, Retries.LOCAL, "when the step is done"),
)


@dataclass
class Result:
    """What one way was measured to take."""

    seconds: list[float]
    events: float  # in the histories of an order and its child
    answer: float  # seconds until an order answers while one of its steps keeps failing


async def measure(way: Way, orders: int, at_a_time: int, seed: int, advance: Callable[[], None]) -> Result:
    """Run so many bare orders, so many at a time, and call `advance` after each."""
    with start_servers(way.dynamic_config) as servers, servers.bare_workers():
        client = await connect(servers.settings)
        seconds: list[float] = []
        events: list[int] = []
        numbers = iter(range(orders))

        async def one_after_another() -> None:
            for number in numbers:
                began = time.monotonic()
                handle = await client.start_workflow(
                    BareOrder.run,
                    Plan(FAIL, HANG, seed, way.retries),
                    id=f"bare/{number}",
                    task_queue=QUEUES["order"],
                    start_signal="approve",
                )
                await handle.result()
                seconds.append(time.monotonic() - began)
                child = client.get_workflow_handle(f"ship-bare/{number}")
                events.append(sum([(await each.describe()).history_length for each in (handle, child)]))
                advance()

        await asyncio.gather(*(one_after_another() for _ in range(at_a_time)))
        return Result(seconds, mean(events), await time_to_answer(client, way))


async def time_to_answer(client: Client, way: Way) -> float:
    """Return the seconds that an Update takes while every attempt of the order's first step hangs."""
    handle = await client.start_workflow(
        BareOrder.run, Plan(0, 1, 0, way.retries), id="bare/hangs", task_queue=QUEUES["order"]
    )
    await asyncio.sleep(1)  # the step has begun
    began = time.monotonic()
    await handle.execute_update(BareOrder.are_you_there)
    took = time.monotonic() - began
    await handle.terminate()
    return took


def without_overhead(number: int, seed: int) -> float:
    """Return how many seconds the order of this number takes if only failures take time."""
    plan = Plan(FAIL, HANG, seed)
    outside = Faults(FAIL, HANG, seed)
    slept: list[float] = []
    for step in STEPS:
        for attempt in range(1, 1000):
            try:
                outside.call(str(number), step, attempt, plan.attempt_seconds * CALL_SHARE, slept.append)
                break
            except (OutsideError, OutsideTimeoutError):
                slept.append(0.01 * BACKOFF ** (attempt - 1))
    return sum(slept)


async def compare_retries(orders: int, at_a_time: int, seed: int) -> None:
    """Measure every way and print one table."""
    failures_alone = [without_overhead(number, seed) for number in range(orders)]
    table = Table(title=f"{orders} orders, {at_a_time} at a time, a third of all calls fails and a third hangs")
    for column in (
        "server",
        "who retries",
        "in 15 s",
        "p50",
        "p95",
        "p99",
        "p50 / failures alone",
        "answers",
        "events",
    ):
        table.add_column(column, justify="left" if column in ("server", "who retries") else "right")
    table.add_column("you see each attempt")
    for way in WAYS:
        with Progress(transient=True) as progress:
            bar = progress.add_task(f"{way.server}: {way.retries}", total=orders)
            result = await measure(way, orders, at_a_time, seed, lambda p=progress, b=bar: p.advance(b))  # type: ignore[misc]
        in_time = sum(seconds <= BUDGET for seconds in result.seconds) / orders
        table.add_row(
            way.server,
            way.retries,
            f"{in_time:.1%}",
            *(f"{quantile(result.seconds, p):.2f} s" for p in (0.5, 0.95, 0.99)),
            f"{quantile(result.seconds, 0.5) / quantile(failures_alone, 0.5):.2f}",
            f"{result.answer:.2f} s",
            f"{result.events:.0f}",
            way.attempts_seen,
        )
    table.add_row(
        "none", "the failures alone", "", *(f"{quantile(failures_alone, p):.2f} s" for p in (0.5, 0.95, 0.99)), "1.00"
    )
    Console(width=160).print(table)


def main(
    orders: Annotated[int, typer.Option(min=1, help="How many orders to run each way.")] = 100,
    at_a_time: Annotated[int, typer.Option(min=1, help="How many orders run at the same time.")] = 10,
    seed: Annotated[int, typer.Option(help="Which calls fail: another seed, other failures.")] = 1,
) -> None:
    """Compare ways to retry a failed step.

    The table has the share of orders done in 15 s, their times, how soon an order answers while one of its steps fails,
    and how many events its history has.
    """
    process.run(compare_retries(orders, at_a_time, seed))


if __name__ == "__main__":
    typer.run(main)
