"""Run a worker: wait for the servers, poll a task queue, and stop when asked."""

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
from order_lifecycle.client import pollers, wait_and_connect
from order_lifecycle.db.store import Store, connect
from order_lifecycle.domain import BadInputError
from order_lifecycle.faults import STEPS, Faults
from order_lifecycle.settings import Settings
from order_lifecycle.stack import process
from order_lifecycle.temporal_compat import is_activity

# An activity spends most of its time waiting. There are more threads than connections, because a
# call to the outside world that hangs holds only a thread.
THREADS = 100
CONNECTIONS = 10

READY = "polling"  # the worker logs this when the server lists it as a poller


@dataclass(frozen=True)
class WorkerSpec:
    """What a worker serves: a task queue, a workflow, and the activities of one class."""

    name: str
    task_queue: str
    workflow: type
    activities: Callable[[Store, Faults], Activities]


async def serve(spec: WorkerSpec, faults: Faults, lifeline: bool) -> None:
    """Run the worker until this process is asked to stop.

    With `lifeline`, it also stops at the end of standard input.

    Raises:
        BadInputError: A setting is not valid.
    """
    stop = process.stop_requests(lifeline)

    settings = Settings()
    logs.configure(settings.log_json, settings.metrics_address)

    def say(text: str) -> None:
        logging.getLogger(__name__).info("%s worker: %s", spec.name, text)

    client = await wait_and_connect(say, stop)
    url = Settings().resolved().database_url
    if client is None or url is None:
        return
    engine = connect(url.get_secret_value(), pool_size=CONNECTIONS)
    activities = spec.activities(Store(engine), faults)
    with ThreadPoolExecutor(THREADS, thread_name_prefix="activity") as threads:
        worker = Worker(
            client,
            task_queue=spec.task_queue,
            workflows=[spec.workflow],
            activities=activity_methods(activities),
            activity_executor=threads,
            max_concurrent_activities=THREADS,
            # After a kill -9 of this worker, a query or signal for a workflow in its cache waits
            # this long before another worker gets it. Temporal's default is 10 s. That is better if
            # workers have a backlog of more than a second: a worker without the workflow in its
            # cache must replay the whole history.
            sticky_queue_schedule_to_start_timeout=timedelta(seconds=settings.sticky_seconds),
            graceful_shutdown_timeout=timedelta(seconds=3),
            # The answer to an Update repeats a part of its input, so it may be too large for the
            # server. The server then drops that Update. With this limit on, the SDK would instead
            # fail the order's workflow task again and again.
            disable_payload_error_limit=True,
        )
        await poll(worker, client, stop, say)
    engine.dispose()
    say("stopped")


async def poll(
    worker: Worker, client: Client, stop: asyncio.Event, say: Callable[[str], None]
) -> None:
    """Let the worker poll its task queue until `stop` is set, and finish what has begun."""
    async with worker:
        await _first_poll(client, worker.task_queue, stop)
        server = client.service_client.config.target_host
        say(f"{READY} {worker.task_queue} at {server}, process {os.getpid()}")
        await stop.wait()
        say("stopping: finishing what has begun")


async def _first_poll(client: Client, task_queue: str, stop: asyncio.Event) -> None:
    """Wait until the server lists this worker as a poller, for at most 5 s.

    A reader of the log line "polling" may run `order-lifecycle doctor` next, which reads that list.
    """
    deadline = time.monotonic() + 5
    while not stop.is_set() and time.monotonic() < deadline:
        try:
            if client.identity in await pollers(client, task_queue):
                return
        except RPCError:
            return  # this worker may poll, but may not read the list
        await asyncio.sleep(0.02)


def activity_methods(activities: Activities) -> list[Callable[..., Any]]:
    """Return the methods that have `@activity.defn`."""
    found = (getattr(activities, name) for name in dir(activities))
    return [method for method in found if is_activity(method)]


def command(spec: WorkerSpec) -> None:
    """Run the command line of `python -m order_lifecycle.workers.…`."""
    streams.prepare()
    try:
        settings = Settings()
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
        ] = settings.faults_fail,
        faults_hang: Annotated[
            float,
            typer.Option(
                min=0,
                max=1,
                callback=_share,
                help="The share of calls to the outside world that hang.",
            ),
        ] = settings.faults_hang,
        faults_seed: Annotated[
            int, typer.Option(help="Decides which calls these are.")
        ] = settings.faults_seed,
        always_fail: Annotated[
            str,
            typer.Option(
                help="Steps that never work, separated by commas, such as dispatch_carrier."
            ),
        ] = settings.faults_always_fail,
    ) -> None:
        never_work = frozenset(step.strip() for step in always_fail.split(",") if step.strip())
        unknown = sorted(never_work - {*STEPS})
        try:
            if unknown:
                by_option = always_fail != settings.faults_always_fail
                raise BadInputError(
                    f"{'--always-fail' if by_option else 'FAULTS_ALWAYS_FAIL'}: "
                    f"there is no step {', '.join(unknown)}; the steps are {', '.join(STEPS)}"
                )
            faults = Faults(faults_fail, faults_hang, faults_seed, never_work)
            process.run(serve(spec, faults, lifeline))
        except BadInputError as error:
            raise SystemExit(_bad_input(error)) from None

    main.__doc__ = f"Run a worker for the task queue {spec.task_queue}, until Ctrl-C or SIGTERM."
    try:
        typer.run(main)
    except streams.UnwritableError as error:
        streams.discard_output()
        raise SystemExit(_unwritten(error)) from None


def _share(value: float) -> float:
    """Refuse NaN, which `min` and `max` let pass."""
    if isnan(value):
        raise typer.BadParameter("it is not a number")
    return value


def _unwritten(error: streams.UnwritableError) -> int:
    print(f"standard output cannot be written: {error.strerror or error}", file=sys.stderr)
    return 1


def _bad_input(error: BadInputError) -> int:
    print(error, file=sys.stderr)
    return 2
