"""Where the processors' time goes: how much each process spends on an order, ours and a bare one, many at a time."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack

import psutil

from benchmarks.orders import Start, all_at_once, bare, real
from benchmarks.report import Report
from benchmarks.servers import servers
from order_lifecycle.client import connect

WHO = {
    "start-dev": "Temporal's server",
    "postgres": "PostgreSQL",
    "order_worker": "order worker",
    "shipping_worker": "shipping worker",
    "bare_worker order": "order worker",
    "bare_worker shipping": "shipping worker",
}
CLIENT = "who starts them"


async def where_the_time_goes(report: Report, orders: int) -> None:
    spent: dict[str, dict[str, float]] = {}
    rates: dict[str, float] = {}
    for kind, start in (("order", real), ("bare", bare)):
        spent[kind], rates[kind] = await _processor_time(kind, start, orders)
    for who in [*dict.fromkeys(WHO.values()), CLIENT]:
        ours, floor = spent["order"].get(who, 0.0), spent["bare"].get(who, 0.0)
        report.add(
            f"processor time an order, {orders} at once: {who}",
            f"{ours:.0f} ms",
            f"bare: {floor:.0f} ms",
            ours / floor if floor >= 1 else None,
        )
    every = {kind: sum(each.values()) for kind, each in spent.items()}
    report.add(
        f"processor time an order, {orders} at once: all of them",
        f"{every['order']:.0f} ms",
        f"bare: {every['bare']:.0f} ms",
        every["order"] / every["bare"],
    )
    processors = psutil.cpu_count() or 1
    for kind, milliseconds in every.items():
        limit = processors * 1000 / milliseconds
        report.add(
            f"orders a second, against what {processors} processors allow ({kind})",
            f"{rates[kind]:.1f}",
            f"{limit:.1f}",
            rates[kind] / limit,
        )


async def _processor_time(kind: str, start: Start, orders: int) -> tuple[dict[str, float], float]:
    """Milliseconds of processor time that an order takes of each process, and orders a second."""
    with ExitStack() as stack:
        here = stack.enter_context(servers())
        stack.enter_context(here.workers() if kind == "order" else here.bare_workers())
        client = await connect(here.settings)
        await all_at_once(start, client, 20, "warm")
        before = _spent()
        rate = await all_at_once(start, client, orders, "profiled")
        after = _spent()
    return {who: 1000 * (seconds - before[who]) / orders for who, seconds in after.items()}, rate


def _spent() -> Counter[str]:
    """Seconds of processor time so far, of this process and of all that it started."""
    seconds: Counter[str] = Counter()
    us = psutil.Process()
    for process in [us, *us.children(recursive=True)]:
        command = " ".join(process.cmdline())
        who = CLIENT if process == us else next((who for part, who in WHO.items() if part in command), command)
        times = process.cpu_times()
        seconds[who] += times.user + times.system
        if who == "PostgreSQL":  # of its processes that have ended; ours count only themselves
            seconds[who] += times.children_user + times.children_system
    return seconds
