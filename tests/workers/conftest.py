from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.worker_process import WorkerProcess


@pytest.fixture
def start_worker(tmp_path: Path, environment: dict[str, str]) -> Iterator[Callable[..., WorkerProcess]]:
    """Start a worker process that ends with the test, as in `start_worker("order", "--lifeline")`."""
    started: list[WorkerProcess] = []

    def start(kind: str, *options: str, environment: dict[str, str] = environment) -> WorkerProcess:
        started.append(WorkerProcess(kind, tmp_path, environment, *options))
        return started[-1]

    yield start
    for worker in started:
        worker.end()
