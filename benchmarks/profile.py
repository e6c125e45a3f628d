"""Measure how much processor time each process spends on one order, while many orders run at once."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack

import psutil

from benchmarks.orders import Start, orders_per_second, start_bare, start_real
from benchmarks.report import Report
from benchmarks.servers import start_servers
from order_lifecycle.client import connect

WHO = {
    "start-dev": "Temporal's server",
    "postgres": "PostgreSQL",
    "order_worker": "order worker",
    "shipping_worker": "shipping worker",
    "bare_worker order": "order worker",
    "bare_worker shipping": "shipping worker",
}
CLIENT = "the client that starts them"


async def measure_processor_time(report: Report, orders: int) -> None:
    """Report the processor time of each process per order, for real and for bare orders."""
    spent: dict[str, dict[str, float]] = {}
    rates: dict[str, float] = {}
    for kind, start in (("order", start_real), ("bare", start_bare)):
        spent[kind], rates[kind] = await _processor_time(kind, start, orders)
    for who in [*dict.fromkeys(WHO.values()), CLIENT]:
        ours, baseline = spent["order"].get(who, 0.0), spent["bare"].get(who, 0.0)
        report.add(
            f"processor time per order, {orders} at once: {who}",
            f"{ours:.0f} ms",
            f"bare: {baseline:.0f} ms",
            ours / baseline if baseline >= 1 else None,
        )
    every = {kind: sum(each.values()) for kind, each in spent.items()}
    report.add(
        f"processor time per order, {orders} at once: all processes",
        f"{every['order']:.0f} ms",
        f"bare: {every['bare']:.0f} ms",
        every["order"] / every["bare"],
    )
    processors = psutil.cpu_count() or 1
    for kind, milliseconds in every.items():
        limit = processors * 1000 / milliseconds
        report.add(
            f"orders per second, against what {processors} processors allow ({kind})",
            f"{rates[kind]:.1f}",
            f"{limit:.1f}",
            rates[kind] / limit,
        )


async def _processor_time(kind: str, start: Start, orders: int) -> tuple[dict[str, float], float]:
    """Return the milliseconds of processor time per order by process, and the orders per second."""
    with ExitStack() as stack:
        servers = stack.enter_context(start_servers())
        stack.enter_context(servers.workers() if kind == "order" else servers.bare_workers())
        client = await connect(servers.settings)
        await orders_per_second(start, client, 20, "warm")
        before = _spent()
        rate = await orders_per_second(start, client, orders, "profiled")
        after = _spent()
    return {who: 1000 * (seconds - before[who]) / orders for who, seconds in after.items()}, rate


def _spent() -> Counter[str]:
    """Return the seconds of processor time so far, by process, for this process and all its children."""
    seconds: Counter[str] = Counter()
    us = psutil.Process()
    for process in [us, *us.children(recursive=True)]:
        command = " ".join(process.cmdline())
        who = CLIENT if process == us else next((who for part, who in WHO.items() if part in command), command)
        times = process.cpu_times()
        seconds[who] += times.user + times.system
        if who == "PostgreSQL":  # and its children that have ended; each of our own processes is counted by itself
            seconds[who] += times.children_user + times.children_system
    return seconds
