"""Run all benchmarks and write their results: `make bench`, or `python -m benchmarks --help`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated

import typer

from benchmarks import budget, counts, profile, reading, set_up, speed, suites
from benchmarks.report import Report
from order_lifecycle.stack import process

RESULTS = Path(__file__).parent / "results"

# Each part has two functions: the whole measurement, and a quick one that only shows that it works.
PARTS: dict[str, tuple[Callable[[Report], Awaitable[None]], Callable[[Report], Awaitable[None]]]] = {
    "counts": (counts.measure_costs, counts.measure_costs),
    "one": (lambda report: speed.measure_one_order(report, 100), lambda report: speed.measure_one_order(report, 5)),
    "many": (
        lambda report: speed.measure_many_at_once(report, [1, 10, 50, 200, 500]),
        lambda report: speed.measure_many_at_once(report, [1, 10]),
    ),
    "profile": (
        lambda report: profile.measure_processor_time(report, 200),
        lambda report: profile.measure_processor_time(report, 10),
    ),
    "more": (
        lambda report: speed.measure_growth(report, [10, 100, 1000, 5000]),
        lambda report: speed.measure_growth(report, [5, 10, 20]),
    ),
    "budget": (
        lambda report: budget.measure_budget(report, {1: 50, 10: 1000, 50: 500}),
        lambda report: budget.measure_budget(report, {10: 10}),
    ),
    "reading": (
        lambda report: reading.measure_status_and_list(report, 1000, 200),
        lambda report: reading.measure_status_and_list(report, 20, 10),
    ),
    "setup": (set_up.measure_set_up, set_up.measure_set_up),
    "notebooks": (suites.measure_notebooks, suites.measure_notebooks),
    "suites": (suites.measure_suites, suites.measure_suites),
}


async def measure(report: Report, parts: list[str], quick: bool) -> None:
    """Run these parts one after the other. Write the report after each part."""
    start = time.monotonic()
    for part in parts:
        began = time.monotonic()
        await PARTS[part][quick](report)
        print(f"({part}: {time.monotonic() - began:.0f} s)", flush=True)
        report.parts.append(part)
        report.write(time.monotonic() - start)  # now, because the next part may be interrupted
        await asyncio.sleep(1)  # so that the processes of this part are gone


def main(
    only: Annotated[list[str] | None, typer.Option(help=f"Run only this part: {', '.join(PARTS)}. Repeatable.")] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Use small sizes, to see that it works. The figures mean nothing.")
    ] = False,
    folder: Annotated[Path, typer.Option(help="Write the table and the plots to this folder.")] = RESULTS,
    add: Annotated[bool, typer.Option("--add", help="Keep the results of other parts that are in the folder.")] = False,
) -> None:
    """Run all benchmarks, print one table, and write it with its plots.

    This takes more than an hour, on a machine that does nothing else. The exit status is 1 if a goal is not reached.
    """
    parts = only or list(PARTS)
    if unknown := [part for part in parts if part not in PARTS]:
        raise typer.BadParameter(f"there is no part {', '.join(unknown)}: choose from {', '.join(PARTS)}")
    report = Report(folder)
    if add:
        if not (folder / "results.csv").exists():
            raise typer.BadParameter(f"{folder} has no earlier results: leave out --add")
        report.load_earlier_results()
    process.run(measure(report, parts, quick))
    report.show()
    if not report.all_goals_reached:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
