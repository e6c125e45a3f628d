"""A second Temporal server beside the notebook's own: one that can skip time, or one that is as it
is shipped.

It lives and dies as the notebook's own servers do. Workers for it are started with
`start_worker(…, at=…)`, and use the notebook's database.
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

SKIP_TIMEOUT = 15.0  # s; it takes a moment


class TimeSkipping(SecondServer):
    """A Temporal whose clock can be put forward."""

    async def skip(self, days: float = 0, hours: float = 0) -> datetime:
        """Let that much of its time pass, with all that is due in it. Returns what its clock says
        then. Raises LabError if it cannot: the server skips no time while a task waits for a
        worker."""
        client = await Client.connect(self.temporal_host)
        request = SleepRequest()
        request.duration.FromTimedelta(timedelta(days=days, hours=hours))
        skipping = client.test_service.unlock_time_skipping_with_sleep(request)
        try:
            async with asyncio.timeout(SKIP_TIMEOUT):
                await watch(skipping, "the time to be skipped")
        except TimeoutError:
            raise LabError(
                "no time was skipped: do both workers run that this server has work for?"
            ) from None
        return await self.now()

    async def now(self) -> datetime:
        """What its clock says."""
        client = await Client.connect(self.temporal_host)
        answer = await client.test_service.get_current_time(Empty())
        return answer.time.ToDatetime(tzinfo=UTC)


def time_skipping() -> TimeSkipping:
    """Start Temporal's test server, which can skip time, and wait until it is ready. Raises
    LabError."""
    running_servers()
    return TimeSkipping("time-skipping", LabProcess)


def as_shipped() -> SecondServer:
    """Start a Temporal dev server with the settings that it is shipped with, and wait until it is
    ready. Raises LabError."""
    running_servers()
    return SecondServer("as-shipped", LabProcess)
