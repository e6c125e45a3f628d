"""The commands that start servers and workers, or check them: up, worker, demo, doctor."""

from __future__ import annotations

import asyncio
import signal
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from order_lifecycle import isolated
from order_lifecycle.cli.answers import show_table, write_answer
from order_lifecycle.cli.calls import run
from order_lifecycle.cli.errors import CommandError
from order_lifecycle.cli.options import AsJson
from order_lifecycle.domain import BadInputError
from order_lifecycle.settings import Settings, usable_home
from order_lifecycle.stack import process

PORT: dict[str, Any] = {"min": 1, "max": 65535}


def up(
    home: Annotated[
        Path | None, typer.Option(help="The folder for the data (default: .order-lifecycle).")
    ] = None,
    ephemeral: Annotated[bool, typer.Option("--ephemeral", help="Keep no data.")] = False,
    port: Annotated[
        int | None, typer.Option(**PORT, help="Temporal's port (default: 7233, or a free one).")
    ] = None,
    ui_port: Annotated[
        int | None, typer.Option(**PORT, help="The Web UI's port (default: 8233, or a free one).")
    ] = None,
    ui_path: Annotated[
        str | None,
        typer.Option(
            help="The path of the Web UI behind a proxy. {port} stands for the Web UI's port."
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the addresses as one line of JSON.")
    ] = False,
    lifeline: Annotated[
        bool, typer.Option("--lifeline", help="Stop when standard input ends.")
    ] = False,
) -> None:
    """Start Temporal and PostgreSQL, and stop them after Ctrl-C.

    If TEMPORAL_HOST or DATABASE_URL names a server of yours, `up` does not start that one.
    """
    from order_lifecycle.stack.supervisor import up

    if ephemeral and home is not None:
        raise BadInputError("--home keeps data and --ephemeral does not: choose one")
    try:
        home = home and usable_home(home)
    except ValueError as error:
        raise BadInputError(f"--home: {error}") from None
    settings = Settings()
    where = None if ephemeral else home or settings.order_lifecycle_home
    raise typer.Exit(
        up(
            where,
            temporal_port=port,
            ui_port=ui_port,
            ui_path=ui_path,
            as_json=as_json,
            lifeline=lifeline,
            settings=settings,
        )
    )


class WorkerName(StrEnum):
    """What `worker` can start."""

    ORDER = "order"
    SHIPPING = "shipping"
    ALL = "all"


def worker(
    name: Annotated[WorkerName, typer.Argument(help="The worker to run.", show_default=False)],
) -> None:
    """Run a worker until Ctrl-C. `all` runs both, each in its own process."""
    import subprocess

    if name is WorkerName.ALL and Settings().metrics_address:
        raise BadInputError(
            "METRICS_ADDRESS: two workers cannot serve their metrics at one address. Start "
            "`order-lifecycle worker order` and `order-lifecycle worker shipping`, "
            "each with a METRICS_ADDRESS of its own"
        )
    kinds = ["order", "shipping"] if name is WorkerName.ALL else [name.value]
    children = [
        subprocess.Popen(
            isolated.command(f"order_lifecycle.workers.{kind}_worker", "--lifeline"),
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        for kind in kinds
    ]

    async def wait_for_stop() -> None:
        stop = process.stop_requests()
        while not stop.is_set() and all(child.poll() is None for child in children):
            try:
                await asyncio.wait_for(stop.wait(), 0.2)
            except TimeoutError:
                continue

    asyncio.run(wait_for_stop())
    for child in children:
        child.terminate()
    # SIGTERM ends a worker that has not yet installed its signal handlers. That is not an error.
    statuses = [0 if (status := child.wait()) == -signal.SIGTERM else status for child in children]
    raise typer.Exit(max(1 if status < 0 else status for status in statuses))


def demo() -> None:
    """Start servers and workers, ship one order, and show its rows."""
    from order_lifecycle.cli.demo import demo
    from order_lifecycle.stack.errors import StackError
    from order_lifecycle.waiting import WaitError

    try:
        run(demo(show_table))
    except TimeoutError:
        raise CommandError(
            "the order was not shipped within 60 s: is this machine busy? Try again later"
        ) from None
    except (StackError, WaitError) as error:  # the message has the last lines of its output
        raise CommandError(str(error)) from None


def doctor(as_json: AsJson = False) -> None:
    """Check packages, servers and workers, and say what to do about what is missing."""
    from order_lifecycle.cli.doctor import examine

    async def main() -> None:
        found = await examine()
        write_answer(
            [finding.model_dump() for finding in found],
            as_json,
            "\n".join(map(str, found)),
        )
        if not all(finding.ok for finding in found):
            raise typer.Exit(1)

    run(main())
