"""Start a real kernel, as JupyterLab does, and find the processes that it started."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psutil
from jupyter_client.manager import KernelManager

from order_lifecycle.lab.waiting import NO_PROGRESS
from tests.notebooks.rules import TOP

TIMEOUT = 60.0


class Kernel:
    def __init__(self) -> None:
        environment = {name: value for name, value in os.environ.items() if name != NO_PROGRESS}
        self.manager = KernelManager(kernel_name="python3")
        self.manager.start_kernel(cwd=str(TOP / "notebooks"), env=environment)
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=TIMEOUT)

    def send(self, source: str, stop_on_error: bool = True) -> str:
        """Queue a cell and return the ID of the request.

        With `stop_on_error`, an error in it ends the cells behind it, also those that are queued a moment later.
        """
        return str(self.client.execute(source, store_history=True, stop_on_error=stop_on_error))

    def replies(self, requests: list[str], timeout: float = TIMEOUT) -> list[dict[str, Any]]:
        """Return the replies to all these requests."""
        found: dict[str, dict[str, Any]] = {}
        deadline = time.monotonic() + timeout
        while missing := [request for request in requests if request not in found]:
            left = deadline - time.monotonic()
            assert left > 0, f"{len(missing)} of {len(requests)} cells have not ended after {timeout} s"
            message = self.client.get_shell_msg(timeout=left)
            found[message["parent_header"]["msg_id"]] = message["content"]
        return [found[request] for request in requests]

    def run(self, source: str, timeout: float = TIMEOUT) -> dict[str, Any]:
        return self.replies([self.send(source)], timeout)[0]

    def right(self, source: str) -> None:
        """Run a cell that must not fail."""
        reply = self.run(source)
        assert reply["status"] == "ok", reply

    def send_and_see(self, source: str) -> str:
        """Queue a cell that will be interrupted, and wait until its code runs."""
        request = self.send(f"print('it runs')\n{source}", stop_on_error=False)
        while True:
            message = self.client.get_iopub_msg(timeout=TIMEOUT)
            if message["parent_header"].get("msg_id") == request and message["msg_type"] == "stream":
                return request

    def shown(self, request: str) -> list[str]:
        """Return the texts that a cell shows until it ends: its progress, displays and result."""
        found = []
        while True:
            message = self.client.get_iopub_msg(timeout=TIMEOUT)
            if message["parent_header"].get("msg_id") != request:
                continue
            if "data" in message["content"]:
                found.append(message["content"]["data"]["text/plain"])
            if message["content"].get("execution_state") == "idle":
                return found

    @property
    def process(self) -> psutil.Process:
        return psutil.Process(self.manager.provisioner.pid)  # type: ignore[union-attr]

    def started(self) -> list[psutil.Process]:
        """Return all processes below the kernel: the supervisor, the servers, the workers."""
        below = self.process.children(recursive=True)
        return [process for process in below if process.status() != psutil.STATUS_ZOMBIE]

    def close(self) -> None:
        self.client.stop_channels()
        if self.manager.has_kernel:
            self.manager.shutdown_kernel()


@contextmanager
def kernel() -> Iterator[Kernel]:
    it = Kernel()
    try:
        yield it
    finally:
        it.close()


def lasting(processes: Iterable[psutil.Process]) -> Iterator[psutil.Process]:
    """Leave out the processes that PostgreSQL starts for its connections.

    One of them may be about to end, such as that of the doctor of the test before.
    """
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            parent = process.parent()
            if parent is not None and parent.name() != "postgres":
                yield process


def names(processes: list[psutil.Process]) -> str:
    return " ".join(" ".join(process.cmdline()) for process in processes)


def all_gone(processes: list[psutil.Process], timeout: float = 5.0) -> bool:
    """Return True if all have ended. A zombie has ended, too: only its parent has not noticed yet."""
    deadline = time.monotonic() + timeout
    while any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)  # between two looks
    return True
