"""Settings for Temporal Cloud do not apply to the servers of a notebook."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator

import pytest

from order_lifecycle.client import connect
from order_lifecycle.lab import as_shipped, servers, start_worker, up
from order_lifecycle.lab.servers import LabServers
from order_lifecycle.settings import OUR_TEMPORAL_SERVERS, Addresses, Settings
from tests.support.cloud_user import become_a_user_of_temporal_cloud


@pytest.fixture(scope="module", autouse=True)
def a_user_of_temporal_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        become_a_user_of_temporal_cloud(patch, tmp_path_factory.mktemp("user"))
        yield


async def test_cloud_settings_do_not_apply_to_a_notebook(lab_servers: LabServers) -> None:
    """This holds for its own cells, its workers, the commands in it, and a second server."""
    worker = start_worker("order")
    client = await connect()
    assert (client.namespace, client.service_client.config.api_key) == ("default", None)
    assert Settings().temporal_namespace == "default"  # as the links have it
    listed = await asyncio.create_subprocess_exec(sys.executable, "-m", "order_lifecycle", "list")
    assert await listed.wait() == 0
    worker.stop()

    second = as_shipped()
    worker = start_worker("order", at=second)
    client = await connect(Settings(temporal_host=second.temporal_host))
    assert (client.namespace, client.service_client.config.api_key) == ("default", None)
    worker.stop()
    second.stop()
    assert not Settings(temporal_host="orders.example.com:7233").temporal_is_ours


async def test_cloud_settings_do_not_apply_to_a_second_server(
    stack: Addresses, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "_servers", None)
    for name, value in {"TEMPORAL_HOST": stack.temporal_host, "DATABASE_URL": database_url}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv(OUR_TEMPORAL_SERVERS, "")  # so that it is gone afterwards
    up()
    assert not Settings().temporal_is_ours
    second = as_shipped()
    worker = start_worker("order", at=second)
    worker.stop()
    second.stop()
