"""Orders of two kinds, started and waited for in the same way: the real one, and the bare one that is its floor."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from temporalio.client import Client, WorkflowHandle

from benchmarks.bare import QUEUES, BareOrder, Plan
from order_lifecycle.client import workflow_id
from order_lifecycle.domain import Address, Item, Order, Policy
from order_lifecycle.workflows.order import ORDER_QUEUE, OrderWorkflow

Start = Callable[[Client, str], Awaitable[WorkflowHandle[Any, Any]]]


def an_order(order_id: str) -> Order:
    return Order(
        id=order_id,
        payment_id=order_id,
        items=[Item(name="apple", qty=2, price="5.25")],
        address=Address(address="575 Lake Dr.", city="Columbus", state="OH", zipcode="43210"),
    )


async def real(client: Client, name: str) -> WorkflowHandle[Any, Any]:
    """Start an order that is approved at once."""
    return await client.start_workflow(
        OrderWorkflow.run,
        args=[an_order(name), Policy()],
        id=workflow_id(name),
        task_queue=ORDER_QUEUE,
        start_signal="approve_order",
    )


async def bare(client: Client, name: str) -> WorkflowHandle[Any, Any]:
    """Start a bare one, approved at once."""
    return await client.start_workflow(
        BareOrder.run, Plan(), id=f"bare/{name}", task_queue=QUEUES["order"], start_signal="approve"
    )


async def seconds_of(start: Start, client: Client, name: str) -> float:
    """From its start to its end."""
    began = time.monotonic()
    await (await start(client, name)).result()
    return time.monotonic() - began


async def in_turns(starts: Sequence[Start], client: Client, each: int, name: str) -> list[list[float]]:
    """One order at a time, of each kind in turn, so that a noisy minute of the machine hits all kinds alike."""
    seconds: list[list[float]] = [[] for _ in starts]
    for number in range(each):
        for start, taken in zip(starts, seconds, strict=True):
            taken.append(await seconds_of(start, client, f"{name}-{number}"))
    return seconds


async def all_at_once(start: Start, client: Client, orders: int, name: str) -> float:
    """Orders a second, so many started at once, until the last has ended."""
    began = time.monotonic()
    await asyncio.gather(*(seconds_of(start, client, f"{name}-{number}") for number in range(orders)))
    return orders / (time.monotonic() - began)
