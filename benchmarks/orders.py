"""Start and time orders of two kinds: real ones, and the bare ones that they are compared with."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from decimal import Decimal
from typing import Any

from temporalio.client import Client, WorkflowHandle

from benchmarks.bare import QUEUES, BareOrder, Plan
from order_lifecycle.client import workflow_id
from order_lifecycle.domain import Address, Item, Order, Policy
from order_lifecycle.workflows.order import ORDER_QUEUE, OrderWorkflow

Start = Callable[[Client, str], Awaitable[WorkflowHandle[Any, Any]]]


def an_order(order_id: str) -> Order:
    """Return an order with one item."""
    return Order(
        id=order_id,
        payment_id=order_id,
        items=[Item(name="apple", qty=2, price=Decimal("5.25"))],
        address=Address(address="575 Lake Dr.", city="Columbus", state="OH", zipcode="43210"),
    )


async def start_real(client: Client, name: str) -> WorkflowHandle[Any, Any]:
    """Start a real order that is approved at once."""
    return await client.start_workflow(
        OrderWorkflow.run,
        args=[an_order(name), Policy()],
        id=workflow_id(name),
        task_queue=ORDER_QUEUE,
        start_signal="approve_order",
    )


async def start_bare(client: Client, name: str) -> WorkflowHandle[Any, Any]:
    """Start a bare order that is approved at once."""
    return await client.start_workflow(
        BareOrder.run, Plan(), id=f"bare/{name}", task_queue=QUEUES["order"], start_signal="approve"
    )


async def time_one_order(start: Start, client: Client, name: str) -> float:
    """Run one order, and return the seconds from its start to its end."""
    began = time.monotonic()
    await (await start(client, name)).result()
    return time.monotonic() - began


async def time_in_turns(starts: Sequence[Start], client: Client, each: int, name: str) -> list[list[float]]:
    """Run one order at a time, of each kind in turn, and return the seconds by kind.

    Because the kinds take turns, a slow minute of the machine affects all of them alike.
    """
    seconds: list[list[float]] = [[] for _ in starts]
    for number in range(each):
        for start, taken in zip(starts, seconds, strict=True):
            taken.append(await time_one_order(start, client, f"{name}-{number}"))
    return seconds


async def orders_per_second(start: Start, client: Client, orders: int, name: str) -> float:
    """Start so many orders at once, and return orders per second until the last one has ended."""
    began = time.monotonic()
    await asyncio.gather(*(time_one_order(start, client, f"{name}-{number}") for number in range(orders)))
    return orders / (time.monotonic() - began)
