"""Start a notebook's servers and workers, and check what they need."""

from __future__ import annotations

import os
from typing import Literal
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field

from order_lifecycle.faults import Faults
from order_lifecycle.jupyter import PORT, proxied_path
from order_lifecycle.lab.markup import show_frames_as_text
from order_lifecycle.lab.process import LabProcess
from order_lifecycle.lab.waiting import LabError, wake_loop_for_signals
from order_lifecycle.settings import Addresses, Settings
from order_lifecycle.stack.child_servers import (
    ADDRESSES,
    STACK,
    SecondServer,
    publish,
    read_addresses,
)
from order_lifecycle.stack.errors import StackError
from order_lifecycle.stack.process import skip_final_garbage_collection
from order_lifecycle.stack.server import Ports
from order_lifecycle.workers.start import wait_until_ready, worker_command


class LabServers(Addresses):
    """The servers of this notebook: their addresses, and the process that they run under."""

    model_config = ConfigDict(arbitrary_types_allowed=True)
    process: LabProcess
    previous_environment: dict[str, str | None] = Field(repr=False)  # the values of ADDRESSES
    external: bool  # both servers are set in the settings, so we have started none
    # The path of the Web UI on the Jupyter server, for a browser that can reach only that server.
    ui_path: str | None = None

    @property
    def alive(self) -> bool:
        """True if the servers run, as far as we can know."""
        return self.external or self.process.alive

    def __repr__(self) -> str:
        return f"<servers: Temporal at {self.temporal_host}>"


_servers: LabServers | None = None


def up() -> LabServers:
    """Start an empty Temporal and an empty PostgreSQL for this notebook, and wait for them.

    If TEMPORAL_HOST and DATABASE_URL are set, it uses those servers and removes nothing in them.
    A second call returns the servers that are already running. It also sets the addresses in the
    environment of this process, so that `!order-lifecycle …` in a cell finds the servers.

    Raises:
        LabError: If the servers do not start.
    """
    global _servers
    wake_loop_for_signals()
    show_frames_as_text()
    if _servers is not None and _servers.alive:
        return _servers
    skip_final_garbage_collection()
    if _servers is not None:  # they have ended, so their addresses are of no use
        for name, value in _servers.previous_environment.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
    before = {name: os.environ.get(name) for name in ADDRESSES}
    settings = Settings()
    path = None if settings.temporal_host else proxied_path()
    through_proxy = [f"--ui-path={path}"] if path else []
    process = LabProcess("stack", [*STACK, *through_proxy])
    try:
        addresses = read_addresses(process)
    except StackError as error:
        raise LabError(str(error)) from None
    publish(addresses, settings)
    _servers = LabServers(
        **addresses.model_dump(),
        process=process,
        previous_environment=before,
        external=bool(settings.temporal_host and settings.database_url),
        ui_path=path and path.replace(PORT, str(urlsplit(addresses.ui_url or "").port)),
    )
    return _servers


def running_servers() -> LabServers:
    """Return the servers of this notebook.

    Raises:
        LabError: If they have not been started, or have ended.
    """
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

    The worker ends when nothing refers to it any more, so give it a name.

    Args:
        kind: Which worker.
        faults: How its calls to the outside world fail. Without faults, every call works.
        at: The second Temporal server that it works for, instead of the notebook's own.
        metrics: Serve metrics on a free port, for `lab.metrics`.

    Raises:
        LabError: If the worker does not start.
    """
    worker = _launch_worker(kind, faults, at, metrics)
    wait_until_ready(worker)
    return worker


def start_workers(
    faults: Faults | None = None, *, at: SecondServer | None = None
) -> tuple[LabProcess, LabProcess]:
    """Start an order worker and a shipping worker, as `start_worker` does.

    They start at the same time, which takes half as long as one after the other.
    """
    workers = _launch_worker("order", faults, at), _launch_worker("shipping", faults, at)
    for worker in workers:
        wait_until_ready(worker)
    return workers


def _launch_worker(
    kind: str, faults: Faults | None, at: SecondServer | None, metrics: bool = False
) -> LabProcess:
    running_servers()
    # lab.attempts reads the log, so it is JSON. A worker connects as the application, which owns no
    # tables, so it does not get the owner's URL.
    environment = {"LOG_JSON": "true", "DATABASE_OWNER_URL": ""}
    if at is not None:
        environment["TEMPORAL_HOST"] = at.temporal_host
    if metrics:
        environment["METRICS_ADDRESS"] = f"127.0.0.1:{Ports().choose()}"
    return LabProcess(f"{kind} worker", worker_command(kind, faults or Faults()), environment)


async def doctor() -> str:
    """Return what `order-lifecycle doctor` prints: what works, what is missing, and what to do."""
    from order_lifecycle.cli.doctor import examine  # imported here because it is slow

    return "\n".join(map(str, await examine()))
