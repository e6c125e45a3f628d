"""`start --approve` is one call; the SDK itself counts its calls."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.runtime import MetricBuffer, Runtime, TelemetryConfig

from order_lifecycle.client import start_order
from order_lifecycle.domain import Policy
from order_lifecycle.settings import Settings
from tests.support.orders import an_order
from tests.support.worker_process import WorkerProcess


async def test_starting_and_approving_an_order_takes_one_call(
    settings: Settings, start_worker: Callable[..., WorkerProcess]
) -> None:
    start_worker("order")
    counted = MetricBuffer(10_000)
    client = await Client.connect(
        settings.temporal_host or "",
        data_converter=pydantic_data_converter,
        runtime=Runtime(telemetry=TelemetryConfig(metrics=counted)),
    )
    order = an_order("one-call")
    counted.retrieve_updates()
    handle = await start_order(client, order, Policy(), approve=True)
    calls: Counter[str] = Counter()
    for update in counted.retrieve_updates():
        if update.metric.name in ("temporal_request", "temporal_long_request"):
            calls[str(update.attributes["operation"])] += int(update.value)
    assert calls == {"ExecuteMultiOperation": 1}
    await handle.terminate()  # its step at the other queue would wait for another test's worker
