"""Measure how soon `status` and `list` answer while a thousand orders are open."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from benchmarks.orders import an_order
from benchmarks.quantiles import quantile
from benchmarks.report import Report
from benchmarks.servers import start_servers
from order_lifecycle.cli.report import fetch_report, list_orders
from order_lifecycle.client import connect, start_order
from order_lifecycle.domain import OrderState, Policy
from order_lifecycle.waiting import wait_until

LIMIT = {"status": 0.05, "list": 0.2}  # s


async def measure_status_and_list(report: Report, orders: int, asks: int) -> None:
    """Report how long each command takes. `orders`: how many are open; `asks`: how often each command runs."""
    with start_servers() as servers, servers.workers():
        client = await connect(servers.settings)
        for first in range(0, orders, 100):
            batch = range(first, min(first + 100, orders))
            await asyncio.gather(*(start_order(client, an_order(f"open-{n}"), Policy()) for n in batch))

        async def all_wait() -> bool:
            return len(await list_orders(client, OrderState.AWAITING_REVIEW, orders)) == orders

        await wait_until(all_wait, lambda: f"{orders} orders to wait for their review", timeout=300)

        async def seconds(ask: Callable[[int], Awaitable[Any]]) -> list[float]:
            taken = []
            for number in range(asks):
                began = time.monotonic()
                await ask(number)
                taken.append(time.monotonic() - began)
            return taken

        spread = max(orders // asks, 1)  # ask all over the orders, because a worker's cache does not hold all of them
        took = {
            "status": await seconds(lambda n: fetch_report(client, f"open-{n * spread % orders}")),
            "list": await seconds(lambda n: list_orders(client, OrderState.AWAITING_REVIEW, 50)),
        }
    for name, taken in took.items():
        p95 = quantile(taken, 0.95)
        report.add(
            f"{name} while {orders} orders are open: p50, p95 of {asks}",
            f"{quantile(taken, 0.5) * 1000:.0f} ms, {p95 * 1000:.0f} ms",
            goal=f"p95 {LIMIT[name] * 1000:.0f} ms",
            reached=p95 <= LIMIT[name],
        )
