"""Everything that is measured, in one run: `make bench`, or `python -m benchmarks --help`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated

import typer

from benchmarks import budget, counts, profile, reading, set_up, speed, suites
from benchmarks.report import Report
from order_lifecycle import process

RESULTS = Path(__file__).parent / "results"

# Each with the sizes of a whole run, and of a quick one that only shows that it works.
PARTS: dict[str, tuple[Callable[[Report], Awaitable[None]], Callable[[Report], Awaitable[None]]]] = {
    "counts": (counts.what_an_order_costs, counts.what_an_order_costs),
    "one": (lambda report: speed.one_order(report, 100), lambda report: speed.one_order(report, 5)),
    "many": (
        lambda report: speed.many_at_once(report, [1, 10, 50, 200, 500]),
        lambda report: speed.many_at_once(report, [1, 10]),
    ),
    "profile": (
        lambda report: profile.where_the_time_goes(report, 200),
        lambda report: profile.where_the_time_goes(report, 10),
    ),
    "more": (
        lambda report: speed.more_and_more(report, [10, 100, 1000, 5000]),
        lambda report: speed.more_and_more(report, [5, 10, 20]),
    ),
    "budget": (
        lambda report: budget.in_time(report, {1: 50, 10: 1000, 50: 500}),
        lambda report: budget.in_time(report, {10: 10}),
    ),
    "reading": (
        lambda report: reading.status_and_list(report, 1000, 200),
        lambda report: reading.status_and_list(report, 20, 10),
    ),
    "setup": (set_up.clone_to_order, set_up.clone_to_order),
    "notebooks": (suites.each_notebook, suites.each_notebook),
    "suites": (suites.notebooks_and_tests, suites.notebooks_and_tests),
}


async def measure(report: Report, parts: list[str], quick: bool) -> None:
    start = time.monotonic()
    for part in parts:
        began = time.monotonic()
        await PARTS[part][quick](report)
        print(f"({part}: {time.monotonic() - began:.0f} s)", flush=True)
        report.parts.append(part)
        report.write(time.monotonic() - start)  # now, because the next part may take long, and be interrupted
        await asyncio.sleep(1)  # for what has just ended to be gone


def main(
    only: Annotated[list[str] | None, typer.Option(help=f"Only this part: {', '.join(PARTS)}. Repeatable.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Small sizes, to see that it works; proves nothing.")] = False,
    folder: Annotated[Path, typer.Option(help="Where the table and the plots go.")] = RESULTS,
    add: Annotated[bool, typer.Option("--add", help="Keep what is there already of other parts.")] = False,
) -> None:
    """Measure everything (it takes long, on a machine that does nothing else), print one table, and write it
    with its plots. Exit status 1 if something that must be reached is not."""
    parts = only or list(PARTS)
    if unknown := [part for part in parts if part not in PARTS]:
        raise typer.BadParameter(f"there is no part {', '.join(unknown)}: choose from {', '.join(PARTS)}")
    report = Report(folder)
    if add:
        if not (folder / "results.csv").exists():
            raise typer.BadParameter(f"{folder} has no results to add to: leave --add out")
        report.go_on()
    process.run(measure(report, parts, quick))
    report.show()
    if not report.all_hold:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
