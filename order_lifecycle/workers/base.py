"""What both workers do: wait for the servers, poll a task queue, and end when they are asked to."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from math import isnan
from typing import Annotated, Any

import typer
from temporalio.client import Client
from temporalio.service import RPCError
from temporalio.worker import Worker

from order_lifecycle import logs, streams
from order_lifecycle.activities.base import Activities
from order_lifecycle.client import connect_when_there, pollers
from order_lifecycle.db.store import Store, connect
from order_lifecycle.domain import BadInputError
from order_lifecycle.faults import STEPS, Faults
from order_lifecycle.settings import Settings
from order_lifecycle.stack import process
from order_lifecycle.temporal_compat import is_activity

# An activity spends its time waiting: for the outside world, then for the database. A hanging call
# to the outside holds a thread, not a connection, so there are more of the former.
THREADS = 100
CONNECTIONS = 10

READY = "polling"  # the worker's log says so as soon as the server knows of it


@dataclass(frozen=True)
class WorkerSpec:
    """What tells one worker from another."""

    name: str
    task_queue: str
    workflow: type
    activities: Callable[[Store, Faults], Activities]


async def serve(kind: WorkerSpec, faults: Faults, lifeline: bool) -> None:
    """Be a worker until this process is asked to stop."""
    stop = process.stop_requests(lifeline)

    told = Settings()
    logs.configure(told.log_json, told.metrics_address)

    def say(text: str) -> None:
        logging.getLogger(__name__).info("%s worker: %s", kind.name, text)

    client = await connect_when_there(say, stop)
    url = Settings().resolved().database_url
    if client is None or url is None:
        return
    engine = connect(url.get_secret_value(), pool_size=CONNECTIONS)
    activities = kind.activities(Store(engine), faults)
    with ThreadPoolExecutor(THREADS, thread_name_prefix="activity") as threads:
        worker = Worker(
            client,
            task_queue=kind.task_queue,
            workflows=[kind.workflow],
            activities=activity_methods(activities),
            activity_executor=threads,
            max_concurrent_activities=THREADS,
            # After a kill -9 of this worker, a query or signal for a workflow in its cache waits
            # this long before another worker gets it. Temporal's default is 10 s, and is better for
            # workers that have a backlog of more than a second: what this clock takes from them is
            # done again from the order's whole history.
            sticky_queue_schedule_to_start_timeout=timedelta(seconds=told.sticky_seconds),
            graceful_shutdown_timeout=timedelta(seconds=3),
            # The answer to an Update repeats the question, and may so be too large for the server.
            # It then drops that Update. The SDK would fail the order's task, again and again.
            disable_payload_error_limit=True,
        )
        async with worker:
            await _first_poll(client, kind.task_queue, stop)
            server = client.service_client.config.target_host
            say(f"{READY} {kind.task_queue} at {server}, process {os.getpid()}")
            await stop.wait()
            say("stopping: finishing what has begun")
    engine.dispose()
    say("stopped")


async def _first_poll(client: Client, task_queue: str, stop: asyncio.Event) -> None:
    """Wait until the server has heard of this worker: who reads that it polls may ask the server
    next, as `order-lifecycle doctor` does."""
    give_up = time.monotonic() + 5
    while not stop.is_set() and time.monotonic() < give_up:
        try:
            if client.identity in await pollers(client, task_queue):
                return
        except RPCError:
            return  # it may poll, and may not ask
        await asyncio.sleep(0.02)  # between two looks


def activity_methods(activities: Activities) -> list[Callable[..., Any]]:
    found = (getattr(activities, name) for name in dir(activities))
    return [method for method in found if is_activity(method)]


def command(kind: WorkerSpec) -> None:
    """The command line of `python -m order_lifecycle.workers.…`."""
    streams.prepare()
    try:
        told = Settings()
    except BadInputError as error:
        raise SystemExit(_bad_input(error)) from None

    def main(
        lifeline: Annotated[
            bool, typer.Option("--lifeline", help="Stop when standard input ends.")
        ] = False,
        faults_fail: Annotated[
            float,
            typer.Option(
                min=0,
                max=1,
                callback=_share,
                help="The share of calls to the outside world that fail at once.",
            ),
        ] = told.faults_fail,
        faults_hang: Annotated[
            float, typer.Option(min=0, max=1, callback=_share, help="The share of them that hang.")
        ] = told.faults_hang,
        faults_seed: Annotated[
            int, typer.Option(help="Another seed, other faults.")
        ] = told.faults_seed,
        always_fail: Annotated[
            str,
            typer.Option(
                help="Steps that never work, separated by commas, such as dispatch_carrier."
            ),
        ] = told.faults_always_fail,
    ) -> None:
        never_work = frozenset(step.strip() for step in always_fail.split(",") if step.strip())
        unknown = sorted(never_work - {*STEPS})
        try:
            if unknown:
                by_option = always_fail != told.faults_always_fail
                raise BadInputError(
                    f"{'--always-fail' if by_option else 'FAULTS_ALWAYS_FAIL'}: "
                    f"there is no step {', '.join(unknown)}; the steps are {', '.join(STEPS)}"
                )
            faults = Faults(faults_fail, faults_hang, faults_seed, never_work)
            process.run(serve(kind, faults, lifeline))
        except BadInputError as error:
            raise SystemExit(_bad_input(error)) from None

    main.__doc__ = f"Run a worker for the task queue {kind.task_queue}, until Ctrl-C or SIGTERM."
    try:
        typer.run(main)
    except streams.UnwritableError as error:
        streams.let_go()
        raise SystemExit(_unwritten(error)) from None


def _share(value: float) -> float:
    """Not a number is neither below 0 nor above 1."""
    if isnan(value):
        raise typer.BadParameter("it is not a number")
    return value


def _unwritten(error: streams.UnwritableError) -> int:
    print(f"standard output cannot be written: {error.strerror or error}", file=sys.stderr)
    return 1


def _bad_input(error: BadInputError) -> int:
    print(error, file=sys.stderr)
    return 2
