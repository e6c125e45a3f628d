"""Give the tests that you write in a notebook a time-skipping Temporal server of their own."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.runtime import LoggingConfig, Runtime, TelemetryConfig, TelemetryFilter

from order_lifecycle.client import register_search_attributes
from order_lifecycle.lab.second_server import TimeSkipping, time_skipping


def quiet() -> None:
    """Let Temporal's SDK log nothing in this process. Call it before the first connection.

    A notebook that runs workers in its own process and lets them fail on purpose needs this.
    Otherwise their tracebacks appear between its outputs.
    """
    errors = LoggingConfig(filter=TelemetryFilter(core_level="ERROR", other_level="ERROR"))
    Runtime.set_default(
        Runtime(telemetry=TelemetryConfig(logging=errors)), error_if_already_set=False
    )
    logging.getLogger("temporalio").setLevel(logging.CRITICAL)


@dataclass(frozen=True)
class TestServer:
    """An empty Temporal server that can skip time, and a client of it."""

    client: Client
    _server: TimeSkipping

    async def skip(self, days: float = 0, hours: float = 0) -> datetime:
        """Skip time, and return what the server's clock says then.

        Raises:
            LabError: If the server skips no time, because a task waits for a worker.
        """
        return await self._server.skip(days, hours)


@asynccontextmanager
async def test_server() -> AsyncIterator[TestServer]:
    """Yield a new server in a process of its own, which ends at the latest with this kernel."""
    server = time_skipping()
    try:
        client = await Client.connect(server.temporal_host, data_converter=pydantic_data_converter)
        await register_search_attributes(client)
        yield TestServer(client, server)
    finally:
        server.stop()
