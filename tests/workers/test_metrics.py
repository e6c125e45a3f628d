"""A worker serves metrics for Prometheus at METRICS_ADDRESS, and nowhere else."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from urllib.request import urlopen

import pytest

from order_lifecycle.workers.base import READY
from tests.support.repeats import in_proof
from tests.support.worker_process import WorkerProcess

Start = Callable[..., WorkerProcess]


@pytest.fixture
def taken() -> Iterator[int]:
    """Yield a port that is in use."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


def a_free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_metrics_are_served_at_metrics_address(start_worker: Start, environment: dict[str, str]) -> None:
    address = f"127.0.0.1:{a_free_port()}"
    worker = start_worker("order", environment={**environment, "METRICS_ADDRESS": address})
    worker.until_said(f"{READY} order-tq")
    with urlopen(f"http://{address}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    assert 'temporal_worker_start{namespace="default"' in text
    assert 'task_queue="order-tq"' in text
    assert worker.end() == 0


@pytest.mark.proof
def test_a_metrics_port_in_use_is_named(start_worker: Start, environment: dict[str, str], taken: int) -> None:
    worker = start_worker("order", environment={**environment, "METRICS_ADDRESS": f"127.0.0.1:{taken}"})
    assert worker.process.wait(20) == 2
    assert f"METRICS_ADDRESS: cannot serve metrics at 127.0.0.1:{taken}" in worker.said()
    assert "Traceback" not in worker.said()


@pytest.mark.parametrize(
    "address", ["9464", *in_proof("localhost:9464", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:65536", "1.2.3:4")]
)
def test_an_invalid_metrics_address_is_refused(start_worker: Start, environment: dict[str, str], address: str) -> None:
    worker = start_worker("order", environment={**environment, "METRICS_ADDRESS": address})
    assert worker.process.wait(20) == 2
    assert "METRICS_ADDRESS (in the environment or in .env): should be an IP address and a port" in worker.said()
