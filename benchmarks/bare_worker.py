"""A worker for bare orders, with as many threads and the same options as the real workers.

    TEMPORAL_HOST=127.0.0.1:7233 python -m benchmarks.bare_worker order

It runs until its standard input ends.
"""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import typer
from temporalio.worker import Worker

from benchmarks.bare import QUEUES, BareOrder, BareShipping, bare_step
from order_lifecycle import logs
from order_lifecycle.client import connect
from order_lifecycle.settings import Settings
from order_lifecycle.stack import process
from order_lifecycle.workers.base import THREADS, poll


async def work(kind: str) -> None:
    """Poll the task queue of this kind until somebody asks the worker to stop."""
    stop = process.stop_requests(lifeline=True)
    logs.configure(as_json=False)
    client = await connect()
    with ThreadPoolExecutor(THREADS) as threads:
        worker = Worker(
            client,
            task_queue=QUEUES[kind],
            workflows=[BareOrder if kind == "order" else BareShipping],
            activities=[bare_step],
            activity_executor=threads,
            max_concurrent_activities=THREADS,
            sticky_queue_schedule_to_start_timeout=timedelta(seconds=Settings().sticky_seconds),
        )
        await poll(worker, client, stop, logging.getLogger(__name__).info)


def main(kind: str) -> None:
    """Run a worker of this kind: `order` or `shipping`."""
    process.run(work(kind))


if __name__ == "__main__":
    typer.run(main)
