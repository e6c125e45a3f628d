"""The worker of a lesson: like the package's own, for the workflows of one module."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.worker import Worker, WorkerDeploymentConfig

from order_lifecycle import logs
from order_lifecycle.client import wait_and_connect
from order_lifecycle.settings import Settings
from order_lifecycle.stack import process
from order_lifecycle.workers.base import poll

BUILD = "LESSON_BUILD"  # the environment variable with this worker's build ID
DEPLOYMENT = "small-orders"


def main(
    task_queue: str, workflows: Sequence[type], activities: Sequence[Callable[..., Any]] = ()
) -> None:
    """Run a worker until this process is asked to stop, or its standard input ends."""
    process.run(_serve(task_queue, workflows, activities))


def deployment(build: str) -> WorkerDeploymentConfig:
    """Return the options of a versioned worker: its orders stay with workers of its build."""
    return WorkerDeploymentConfig(
        version=WorkerDeploymentVersion(DEPLOYMENT, build),
        use_worker_versioning=True,
        default_versioning_behavior=VersioningBehavior.PINNED,
    )


async def _serve(
    task_queue: str, workflows: Sequence[type], activities: Sequence[Callable[..., Any]]
) -> None:
    stop = process.stop_requests(lifeline=True)
    told = Settings()
    logs.configure(as_json=told.log_json)

    def say(text: str) -> None:
        logging.getLogger(__name__).info("lesson worker: %s", text)

    client = await wait_and_connect(say, stop)
    if client is None:
        return
    build = os.environ.get(BUILD)
    with ThreadPoolExecutor(10, thread_name_prefix="activity") as threads:
        worker = Worker(
            client,
            task_queue=task_queue,
            workflows=workflows,
            activities=activities,
            activity_executor=threads,
            max_concurrent_activities=10,
            sticky_queue_schedule_to_start_timeout=timedelta(seconds=told.sticky_seconds),
            graceful_shutdown_timeout=timedelta(seconds=3),
            deployment_config=deployment(build) if build else None,
        )
        await poll(worker, client, stop, say)
