"""Somebody who uses Temporal Cloud as well: nothing of what is set for that holds for the servers that we start."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from order_lifecycle.client import connect
from order_lifecycle.lab import as_shipped, servers, up
from order_lifecycle.lab import start_worker as start_lab_worker
from order_lifecycle.lab.servers import LabServers
from order_lifecycle.settings import OUR_TEMPORAL_SERVERS, Addresses, Settings
from order_lifecycle.stack.stack import Stack
from order_lifecycle.workers.base import READY
from tests.support.worker_process import WorkerProcess

Start = Callable[..., WorkerProcess]

PROFILE = """
[profile.default]
address = "orders.example.com:7233"
namespace = "orders.a1b2c"
api_key = "a-secret-key"
"""


@pytest.fixture(scope="module", autouse=True)
def a_user_of_temporal_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    profile = tmp_path_factory.mktemp("user") / "temporal.toml"
    profile.write_text(PROFILE)
    theirs = {
        "TEMPORAL_CONFIG_FILE": str(profile),
        "TEMPORAL_NAMESPACE": "orders.a1b2c",
        "TEMPORAL_API_KEY": "a-secret-key",
        "TEMPORAL_TLS_CLIENT_CERT_PATH": "no-such.pem",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in theirs.items():
            patch.setenv(name, value)
        yield


def test_a_stack_that_runs(stack: Addresses, start_worker: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """`order-lifecycle up` in one terminal, and a worker and a command in others."""
    monkeypatch.setenv("ORDER_LIFECYCLE_HOME", stack.home)
    worker = start_worker("order", environment=dict(os.environ))
    worker.until_said(f"{READY} order-tq")
    assert subprocess.run([sys.executable, "-m", "order_lifecycle", "list"], check=False).returncode == 0
    client = asyncio.run(connect())
    assert (client.namespace, client.service_client.config.api_key) == ("default", None)
    assert Settings().resolved().temporal_namespace == "default"  # as the links have it
    assert worker.end() == 0


def test_a_stack_that_was_given_a_temporal_server(stack: Addresses, tmp_path: Path) -> None:
    """It publishes that one's address, a tunnel's perhaps, and what is set for it holds."""
    given = Settings(temporal_host=stack.temporal_host, database_url=SecretStr(stack.database_url))
    with Stack(tmp_path / "home", settings=given):
        found = Settings(order_lifecycle_home=tmp_path / "home").resolved()
    assert (found.temporal_host, found.temporal_is_ours) == (stack.temporal_host, False)
    assert found.temporal_namespace == "orders.a1b2c"


def test_an_address_that_was_set_is_not_ours(stack: Addresses, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where a stack runs."""
    monkeypatch.setenv("ORDER_LIFECYCLE_HOME", stack.home)
    found = Settings(temporal_host="orders.example.com:7233").resolved()
    assert (found.temporal_is_ours, found.temporal_namespace) == (False, "orders.a1b2c")


async def test_a_notebook(lab_servers: LabServers) -> None:
    """Its own cells, its workers, the commands in it, and a second server."""
    worker = start_lab_worker("order")
    client = await connect()
    assert (client.namespace, client.service_client.config.api_key) == ("default", None)
    assert Settings().temporal_namespace == "default"  # as the links have it
    listed = await asyncio.create_subprocess_exec(sys.executable, "-m", "order_lifecycle", "list")
    assert await listed.wait() == 0
    worker.stop()

    second = as_shipped()
    worker = start_lab_worker("order", at=second)
    client = await connect(Settings(temporal_host=second.temporal_host))
    assert (client.namespace, client.service_client.config.api_key) == ("default", None)
    worker.stop()
    second.stop()
    assert not Settings(temporal_host="orders.example.com:7233").temporal_is_ours


async def test_a_second_server_beside_one_that_was_given(
    stack: Addresses, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "_servers", None)
    for name, value in {"TEMPORAL_HOST": stack.temporal_host, "DATABASE_URL": database_url}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv(OUR_TEMPORAL_SERVERS, "")  # so that it is gone afterwards
    up()
    assert not Settings().temporal_is_ours
    second = as_shipped()
    worker = start_lab_worker("order", at=second)
    worker.stop()
    second.stop()
