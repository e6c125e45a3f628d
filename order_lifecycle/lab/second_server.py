"""Start a second Temporal server for a notebook: one that can skip time, or one with defaults.

It ends at the latest with the kernel, as the notebook's own servers do. `start_worker(…, at=…)`
starts a worker for it, which uses the notebook's database.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from google.protobuf.empty_pb2 import Empty
from temporalio.api.testservice.v1 import SleepRequest
from temporalio.client import Client

from order_lifecycle.lab.process import LabProcess
from order_lifecycle.lab.servers import running_servers
from order_lifecycle.lab.waiting import LabError, watch
from order_lifecycle.stack.child_servers import SecondServer

SKIP_TIMEOUT = 15.0  # s, for a call that takes milliseconds if the server can skip time


class TimeSkipping(SecondServer):
    """A Temporal server that can skip time."""

    async def skip(self, days: float = 0, hours: float = 0) -> datetime:
        """Skip time: every timer that is due in it fires. Return what the server's clock says then.

        Raises:
            LabError: If the server skips no time, because a task waits for a worker.
        """
        client = await Client.connect(self.temporal_host)
        request = SleepRequest()
        request.duration.FromTimedelta(timedelta(days=days, hours=hours))
        skipping = client.test_service.unlock_time_skipping_with_sleep(request)
        try:
            async with asyncio.timeout(SKIP_TIMEOUT):
                await watch(skipping, "the time to be skipped")
        except TimeoutError:
            raise LabError("the server skipped no time: do both of its workers run?") from None
        return await self.now()

    async def now(self) -> datetime:
        """Return what the server's clock says."""
        client = await Client.connect(self.temporal_host)
        answer = await client.test_service.get_current_time(Empty())
        return answer.time.ToDatetime(tzinfo=UTC)


def time_skipping() -> TimeSkipping:
    """Start Temporal's test server, which can skip time, and wait until it is ready.

    Raises:
        LabError: If it does not start, or if the notebook has no servers of its own yet.
    """
    running_servers()
    return TimeSkipping("time-skipping", LabProcess)


def as_shipped() -> SecondServer:
    """Start a Temporal dev server with its default settings, and wait until it is ready.

    Raises:
        LabError: If it does not start, or if the notebook has no servers of its own yet.
    """
    running_servers()
    return SecondServer("as-shipped", LabProcess)
