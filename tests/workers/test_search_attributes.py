"""Every order needs the search attributes OrderState and OrderTotal; without them it hangs in its first step.

A worker adds them. Where it may not, it says that they are missing. It also waits for a namespace that does not exist.
"""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.client import Client
from temporalio.service import OperatorService, RPCError, RPCStatusCode

from order_lifecycle.client import connect, missing_search_attributes, register_search_attributes
from order_lifecycle.settings import Settings
from order_lifecycle.workers.base import READY
from tests.support.waiting import until, wait_until
from tests.support.worker_process import WorkerProcess

Start = Callable[..., WorkerProcess]

CREATED = ["--name OrderState --type Keyword", "--name OrderTotal --type Double"]

# An order worker of which the server takes none.
REFUSED = """
from temporalio.service import OperatorService, RPCError, RPCStatusCode
from order_lifecycle.workers.base import command
from order_lifecycle.workers.order_worker import ORDER

async def refuse(*_, **__):
    raise RPCError("not for you", RPCStatusCode.PERMISSION_DENIED, b"")

OperatorService.add_search_attributes = refuse
command(ORDER)
"""


@pytest.fixture
async def bare(settings: Settings) -> Client:
    """Connect to a new namespace, which has none of our search attributes."""
    client = await connect(settings)
    namespace = f"bare-{uuid4().hex}"
    await new_namespace(client, namespace)
    return Client(client.service_client, namespace=namespace)


async def new_namespace(client: Client, name: str) -> None:
    request = RegisterNamespaceRequest(namespace=name)
    request.workflow_execution_retention_period.FromTimedelta(timedelta(days=1))
    await client.workflow_service.register_namespace(request)


@pytest.fixture(params=["PERMISSION_DENIED", "UNIMPLEMENTED"])
def refused(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the server refuse new search attributes, as Temporal Cloud does."""

    async def refuse(*_: Any, **__: Any) -> None:
        raise RPCError("not for you", RPCStatusCode[request.param], b"")

    monkeypatch.setattr(OperatorService, "add_search_attributes", refuse)


async def until_missing(client: Client, names: list[str]) -> None:
    """Wait for the server, which reads the list only from time to time."""
    await until(lambda: missing_search_attributes(client), lambda missing: missing == names, timeout=20)


async def test_missing_search_attributes_are_found_and_added(bare: Client, settings: Settings) -> None:
    assert await missing_search_attributes(await connect(settings)) == []
    assert await missing_search_attributes(bare) == ["OrderState", "OrderTotal"]
    await register_search_attributes(bare)
    await until_missing(bare, [])


async def test_a_single_missing_search_attribute_is_found(bare: Client) -> None:
    wanted = AddSearchAttributesRequest(namespace=bare.namespace)
    wanted.search_attributes["OrderState"] = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
    await bare.operator_service.add_search_attributes(wanted)
    await until_missing(bare, ["OrderTotal"])


@pytest.mark.usefixtures("refused")
async def test_a_warning_names_search_attributes_that_cannot_be_added(
    bare: Client, caplog: pytest.LogCaptureFixture
) -> None:
    await register_search_attributes(bare)
    ((_, level, said),) = caplog.record_tuples
    assert level == logging.WARNING
    for created in CREATED:
        assert f"`temporal operator search-attribute create --namespace {bare.namespace} {created}`" in said


@pytest.mark.usefixtures("refused")
async def test_existing_search_attributes_cause_no_warning(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    await register_search_attributes(await connect(settings))
    assert caplog.records == []


@pytest.mark.usefixtures("refused")
async def test_an_unknown_namespace_is_an_error(settings: Settings) -> None:
    client = Client((await connect(settings)).service_client, namespace="nowhere")
    with pytest.raises(RPCError, match="nowhere"):
        await register_search_attributes(client)


def test_a_worker_warns_of_missing_search_attributes_once(
    bare: Client, environment: dict[str, str], tmp_path: Path
) -> None:
    said = tmp_path / "said"
    with said.open("wb") as log:
        worker = subprocess.Popen(
            [sys.executable, "-c", REFUSED], env={**environment, "TEMPORAL_NAMESPACE": bare.namespace}, stderr=log
        )
    try:
        wait_until(lambda: f"{READY} order-tq" in said.read_text() or worker.poll() is not None)
    finally:
        worker.terminate()
    assert worker.wait(15) == 0
    (warning,) = (line for line in said.read_text().splitlines() if "search-attribute" in line)
    assert "[warning" in warning


async def test_a_worker_waits_for_its_namespace(
    start_worker: Start, environment: dict[str, str], settings: Settings
) -> None:
    """It waits as it does for a server."""
    namespace = f"later-{uuid4().hex}"
    worker = start_worker("order", environment={**environment, "TEMPORAL_NAMESPACE": namespace})
    worker.until_said("waiting: ")
    assert f"Namespace {namespace} is not found" in worker.said()
    await new_namespace(await connect(settings), namespace)
    worker.until_said(f"{READY} order-tq")
    assert worker.said().count("waiting: ") == 1
    assert "Traceback" not in worker.said()
    assert worker.end() == 0
