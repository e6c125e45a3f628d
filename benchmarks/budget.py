"""The 15-second budget: orders in an outside world of which a third fails, a third hangs and a third works.

    python -m benchmarks.budget --orders 1000 --at-a-time 10

prints the share of orders shipped within the budget, how long they took, how many attempts they needed, and what a
machine without any overhead would take: the same draws, with nothing but the failures' own time.
"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated

import typer
from rich.progress import Progress
from temporalio.client import Client, WorkflowFailureError

from order_lifecycle import process
from order_lifecycle.activities.outside import CALL_SHARE
from order_lifecycle.client import connect, start_order
from order_lifecycle.db.audit import audit
from order_lifecycle.db.store import Store
from order_lifecycle.db.store import connect as connect_to_database
from order_lifecycle.domain import Address, Item, Order, OrderState, Policy
from order_lifecycle.lab.world import start_worker, up
from order_lifecycle.report import compare_with_temporal
from order_lifecycle.workflows.attempts import ATTEMPTS_IN_BUDGET, BACKOFF, SHORTEST_ATTEMPT

FAIL = HANG = 1 / 3
CALLS_OUTSIDE = 6  # receive, validate, charge, prepare, dispatch, ship


@dataclass
class Outcome:
    seconds: float
    state: str
    attempts: int


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


async def live_through(client: Client, number: int, seed: int, policy: Policy) -> Outcome:
    """One order, approved at once, and what became of it."""
    order = Order(
        id=f"budget-{seed}-{number}",
        payment_id=f"budget-{seed}-{number}",
        items=[Item(name="apple", qty=2, price="5.25")],
        address=Address(address="575 Lake Dr.", city="Columbus", state="OH", zipcode="43210"),
    )
    began = time.monotonic()
    handle = await start_order(client, order, policy, approve=True)
    try:
        state = (await handle.result()).state.value
    except WorkflowFailureError:
        state = OrderState.FAILED.value
    return Outcome(time.monotonic() - began, state, 0)


async def attempts_of(client: Client, workflow_id: str) -> int:
    """How many attempts the activities of a workflow took, those of its children included."""
    attempts = 0
    async for event in client.get_workflow_handle(workflow_id).fetch_history_events():
        if event.HasField("activity_task_started_event_attributes"):
            attempts += event.activity_task_started_event_attributes.attempt
        if event.HasField("child_workflow_execution_started_event_attributes"):
            child = event.child_workflow_execution_started_event_attributes.workflow_execution
            attempts += await attempts_of(client, child.workflow_id)
    return attempts


def without_overhead(orders: int, policy: Policy, seed: int = 1) -> list[float]:
    """How long orders would take if nothing but the failures took time: the limit of what can be reached."""
    draw = random.Random(seed)
    budget, retry = policy.budget.total_seconds(), policy.retry_interval.total_seconds()
    longest, shortest = policy.attempt_timeout.total_seconds(), SHORTEST_ATTEMPT.total_seconds()
    taken = []
    for _ in range(orders):
        seconds = 0.0
        for _ in range(CALLS_OUTSIDE):
            attempt_timeout = min(longest, max((budget - seconds) / ATTEMPTS_IN_BUDGET, shortest))
            retries = 0
            while (fate := draw.random()) < FAIL + HANG:
                seconds += retry * BACKOFF**retries + (attempt_timeout * CALL_SHARE if fate >= FAIL else 0)
                retries += 1
        taken.append(seconds)
    return taken


async def measure(orders: int, at_a_time: int, seed: int, budget: float) -> bool:
    world = up()
    workers = [start_worker(kind, fail=FAIL, hang=HANG, seed=seed) for kind in ("order", "shipping")]
    client = await connect()
    policy = Policy(budget=timedelta(seconds=budget))
    outcomes: list[Outcome] = []
    numbers = iter(range(orders))

    with Progress(transient=True) as progress:
        bar = progress.add_task(f"{orders} orders, {at_a_time} at a time", total=orders)

        async def one_after_another() -> None:
            for number in numbers:
                outcome = await live_through(client, number, seed, policy)
                outcome.attempts = await attempts_of(client, f"order-budget-{seed}-{number}")
                outcomes.append(outcome)
                progress.advance(bar)

        await asyncio.gather(*(one_after_another() for _ in range(at_a_time)))

    store = Store(connect_to_database(world.database_url))
    violations = audit(store.engine) + await compare_with_temporal(client, store.states)
    for worker in workers:
        worker.stop()
    seconds = [outcome.seconds for outcome in outcomes]
    shipped = sum(outcome.state == OrderState.SHIPPED and outcome.seconds <= budget for outcome in outcomes)
    limit = without_overhead(20_000, policy)
    attempts = [outcome.attempts for outcome in outcomes]
    print(f"shipped within {budget:g} s   {shipped} of {orders} ({shipped / orders:.2%})")
    print(f"not shipped           {sum(outcome.state != OrderState.SHIPPED for outcome in outcomes)}, all compensated")
    print("seconds               " + "  ".join(f"p{p} {quantile(seconds, p / 100):.2f}" for p in (50, 95, 99)))
    print("without any overhead  " + "  ".join(f"p{p} {quantile(limit, p / 100):.2f}" for p in (50, 95, 99)))
    print(f"attempts an order     {sum(attempts) / orders:.1f} on average, {max(attempts)} at most")
    print(f"audit                 {len(violations)} violations")
    for violation in violations:
        print(f"  {violation}")
    return not violations and shipped >= 0.999 * orders


def main(
    orders: Annotated[int, typer.Option(min=1, help="How many.")] = 1000,
    at_a_time: Annotated[int, typer.Option(min=1, help="How many at once.")] = 10,
    seed: Annotated[int, typer.Option(help="Which calls fail.")] = 1,
    budget: Annotated[float, typer.Option(min=1, help="Seconds for all the work on an order.")] = 15,
) -> None:
    """Measure how many orders an unreliable world lets through in time. Exit status 1 if fewer than 999 of 1,000."""
    if not process.run(measure(orders, at_a_time, seed, budget)):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
