"""What the tests that a learner writes in a notebook need: a Temporal of their own, whose clock can
be put forward."""

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
    """Let Temporal log nothing in this process, before anything in it connects to a server. For a
    notebook with workers of its own, and with failures that are meant: their tracebacks would stand
    between its outputs."""
    errors = LoggingConfig(filter=TelemetryFilter(core_level="ERROR", other_level="ERROR"))
    Runtime.set_default(
        Runtime(telemetry=TelemetryConfig(logging=errors)), error_if_already_set=False
    )
    logging.getLogger("temporalio").setLevel(logging.CRITICAL)


@dataclass(frozen=True)
class TestServer:
    """An empty Temporal that can skip time, and a client of it."""

    client: Client
    _server: TimeSkipping

    async def skip(self, days: float = 0, hours: float = 0) -> datetime:
        """Let that much of its time pass. Raises LabError if it cannot."""
        return await self._server.skip(days, hours)


@asynccontextmanager
async def test_server() -> AsyncIterator[TestServer]:
    """Inside, there is a new one, in a process of its own, which also ends when this notebook's
    kernel does."""
    server = time_skipping()
    try:
        client = await Client.connect(server.temporal_host, data_converter=pydantic_data_converter)
        await register_search_attributes(client)
        yield TestServer(client, server)
    finally:
        server.stop()
