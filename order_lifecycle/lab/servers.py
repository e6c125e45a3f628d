"""The servers of a notebook, its workers, and a look at all that they need."""

from __future__ import annotations

import os
from typing import Literal
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field

from order_lifecycle.faults import Faults
from order_lifecycle.jupyter import PORT, proxied_path
from order_lifecycle.lab.markup import show_frames_as_text
from order_lifecycle.lab.process import LabProcess
from order_lifecycle.lab.waiting import LabError, wake_for_signals
from order_lifecycle.settings import Addresses, Settings
from order_lifecycle.stack.child_servers import (
    ADDRESSES,
    STACK,
    SecondServer,
    publish,
    read_addresses,
)
from order_lifecycle.stack.errors import StackError
from order_lifecycle.stack.process import end_without_collecting
from order_lifecycle.stack.server import Ports
from order_lifecycle.workers.start import wait_until_ready, worker_command


class LabServers(Addresses):
    """Where this notebook's servers are."""

    model_config = ConfigDict(arbitrary_types_allowed=True)
    process: LabProcess
    before: dict[str, str | None] = Field(repr=False)  # what the environment had for ADDRESSES
    given: bool  # the servers are somebody else's, named in the settings
    # Where the Jupyter server shows the Web UI, for a browser that sees that server only.
    ui_path: str | None = None

    @property
    def alive(self) -> bool:
        return self.given or self.process.alive

    def __repr__(self) -> str:
        return f"<servers: Temporal at {self.temporal_host}>"


_servers: LabServers | None = None


def up() -> LabServers:
    """Start a Temporal server and a PostgreSQL for this notebook alone, both empty, and wait until
    they are ready.

    With TEMPORAL_HOST and DATABASE_URL set, those servers are used, and nothing in them is cleared.
    A second call returns the servers that are already running. The addresses also go to the
    environment of this process, so that `!order-lifecycle …` in a cell finds them. Raises LabError.
    """
    global _servers
    wake_for_signals()
    show_frames_as_text()
    if _servers is not None and _servers.alive:
        return _servers
    end_without_collecting()
    if _servers is not None:  # it has ended, and its addresses with it
        for name, value in _servers.before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
    before = {name: os.environ.get(name) for name in ADDRESSES}
    given = Settings()
    path = None if given.temporal_host else proxied_path()
    through_proxy = [f"--ui-path={path}"] if path else []
    process = LabProcess("stack", [*STACK, *through_proxy])
    try:
        addresses = read_addresses(process)
    except StackError as error:
        raise LabError(str(error)) from None
    publish(addresses, given)
    _servers = LabServers(
        **addresses.model_dump(),
        process=process,
        before=before,
        given=bool(given.temporal_host and given.database_url),
        ui_path=path and path.replace(PORT, str(urlsplit(addresses.ui_url or "").port)),
    )
    return _servers


def running_servers() -> LabServers:
    """the servers of this notebook. Raises LabError if there is none."""
    if _servers is None:
        raise LabError("there are no servers yet: run the cell with lab.up() first")
    if not _servers.alive:
        raise LabError(
            "this notebook's servers have ended: choose Restart Kernel and Run All Cells"
        )
    return _servers


def start_worker(
    kind: Literal["order", "shipping"],
    faults: Faults | None = None,
    *,
    at: SecondServer | None = None,
    metrics: bool = False,
) -> LabProcess:
    """Start a worker in a process of its own, and wait until it polls its task queue.

    `faults`: what the outside world does to its calls; without them, every call works. `at`: the
    Temporal that it works for, if not the notebook's own. `metrics`: serve them, on a free port,
    for `lab.metrics`. The worker ends when nothing refers to it any more, so give it a name. Raises
    LabError.
    """
    worker = _begin(kind, faults, at, metrics)
    wait_until_ready(worker)
    return worker


def start_workers(
    faults: Faults | None = None, *, at: SecondServer | None = None
) -> tuple[LabProcess, LabProcess]:
    """Start an order worker and a shipping worker side by side, which takes half as long as one
    after the other. Otherwise as `start_worker`."""
    workers = _begin("order", faults, at), _begin("shipping", faults, at)
    for worker in workers:
        wait_until_ready(worker)
    return workers


def _begin(
    kind: str, faults: Faults | None, at: SecondServer | None, metrics: bool = False
) -> LabProcess:
    running_servers()
    # JSON, so that lab.attempts can read the log. A worker is the application: it owns no tables.
    environment = {"LOG_JSON": "true", "DATABASE_OWNER_URL": ""}
    if at is not None:
        environment["TEMPORAL_HOST"] = at.temporal_host
    if metrics:
        environment["METRICS_ADDRESS"] = f"127.0.0.1:{Ports().choose()}"
    return LabProcess(f"{kind} worker", worker_command(kind, faults or Faults()), environment)


async def doctor() -> str:
    """What is here, what is missing, and what to do about it: as `order-lifecycle doctor` says."""
    from order_lifecycle.cli.doctor import examine  # takes its time

    return "\n".join(map(str, await examine()))
