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
from order_lifecycle.settings import Addresses, Settings
from order_lifecycle.stack.stack import Stack
from order_lifecycle.workers.base import READY
from tests.support.cloud_user import become_a_user_of_temporal_cloud
from tests.support.worker_process import WorkerProcess

Start = Callable[..., WorkerProcess]


@pytest.fixture(scope="module", autouse=True)
def a_user_of_temporal_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        become_a_user_of_temporal_cloud(patch, tmp_path_factory.mktemp("user"))
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
