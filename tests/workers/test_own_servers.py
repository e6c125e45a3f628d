"""Settings for Temporal Cloud do not apply to the servers that we start."""

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


def test_cloud_settings_do_not_apply_to_a_running_stack(
    stack: Addresses, start_worker: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`order-lifecycle up` runs in one terminal, and a worker and a command in others."""
    monkeypatch.setenv("ORDER_LIFECYCLE_HOME", stack.home)
    worker = start_worker("order", environment=dict(os.environ))
    worker.until_said(f"{READY} order-tq")
    assert subprocess.run([sys.executable, "-m", "order_lifecycle", "list"], check=False).returncode == 0
    client = asyncio.run(connect())
    assert (client.namespace, client.service_client.config.api_key) == ("default", None)
    assert Settings().resolved().temporal_namespace == "default"  # as the links have it
    assert worker.end() == 0


def test_cloud_settings_apply_to_a_stack_with_your_own_temporal(stack: Addresses, tmp_path: Path) -> None:
    """The stack publishes your server's address, which may be a tunnel's. So the settings for it apply."""
    given = Settings(temporal_host=stack.temporal_host, database_url=SecretStr(stack.database_url))
    with Stack(tmp_path / "home", settings=given):
        found = Settings(order_lifecycle_home=tmp_path / "home").resolved()
    assert (found.temporal_host, found.temporal_is_ours) == (stack.temporal_host, False)
    assert found.temporal_namespace == "orders.a1b2c"


def test_cloud_settings_apply_to_a_temporal_host_that_is_set(stack: Addresses, monkeypatch: pytest.MonkeyPatch) -> None:
    """This holds even where a stack runs."""
    monkeypatch.setenv("ORDER_LIFECYCLE_HOME", stack.home)
    found = Settings(temporal_host="orders.example.com:7233").resolved()
    assert (found.temporal_is_ours, found.temporal_namespace) == (False, "orders.a1b2c")
