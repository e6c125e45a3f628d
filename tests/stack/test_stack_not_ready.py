"""A stack that cannot become ready says why, as soon as that is certain."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from order_lifecycle.stack.child_process import ChildProcess
from order_lifecycle.stack.errors import StackError
from order_lifecycle.stack.home import Home
from order_lifecycle.stack.role_names import PASSWORD_FILES
from order_lifecycle.stack.server import READY_TIMEOUT, Ports
from order_lifecycle.stack.stack import PROGRESS_INTERVAL
from order_lifecycle.stack.temporal import Temporal
from order_lifecycle.waiting import WaitError
from tests.support.repeats import in_proof
from tests.support.waiting import wait_until

WITHOUT_LOOPBACK = ["unshare", "--net"]  # in a new network, the loopback interface is down


def test_a_machine_without_a_loopback_interface_is_named(up: Callable[..., Any], tmp_path: Path) -> None:
    if shutil.which("unshare") is None or subprocess.run([*WITHOUT_LOOPBACK, "true"], capture_output=True).returncode:
        pytest.skip("no network namespace can be had here")
    it = up(tmp_path / "home", before=WITHOUT_LOOPBACK)
    assert it.process.wait(READY_TIMEOUT) == 1
    assert "This machine cannot connect to itself at 127.0.0.1: Network is unreachable." in it.said()
    assert "ip link set lo up" in it.said()


@pytest.mark.proof
def test_a_wrong_password_is_named(up: Callable[..., Any], tmp_path: Path) -> None:
    home = tmp_path / "home"
    first = up(home)
    first.addresses()
    first.end(lambda: first.process.send_signal(signal.SIGTERM))
    for name in PASSWORD_FILES.values():
        (home / name).write_text("another")
    it = up(home)
    assert it.process.wait(READY_TIMEOUT) == 1
    assert "PostgreSQL runs and is not ready: " in it.said()
    assert "password authentication failed" in it.said()
    assert "after 60 s" not in it.said()


def answer_all(listener: socket.socket, answer: bytes) -> None:
    """Serve every caller this answer."""
    while True:
        try:
            caller, _ = listener.accept()
        except OSError:
            return
        with caller:
            caller.recv(4096)
            caller.sendall(answer)


@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", *in_proof(b"SSH-2.0-another-server\r\n")],
)
def test_an_unexpected_server_on_our_port_is_named_with_its_answer(answer: bytes) -> None:
    """Another server has our port, while our own server runs."""

    class Elsewhere(Temporal):
        """The dev server, expected at another port than it has."""

        def start(self) -> None:
            super().start()
            self._http_port = stranger.getsockname()[1]

    with socket.create_server(("127.0.0.1", 0)) as stranger, closing(Home(None)) as home:
        threading.Thread(target=answer_all, args=(stranger, answer), daemon=True).start()
        it = Elsewhere(home, Ports(), None, None)
        it.start()
        try:
            said = "answers 403" if b"403" in answer else "gives no HTTP answer"
            with pytest.raises(StackError, match=f"Temporal runs and is not ready: 127.0.0.1:.* {said}"):
                it.wait_until_ready(lambda: time.sleep(0.02))
        finally:
            it.ask_to_stop()
            it.stop_by(time.monotonic() + 5)


def called(it: Any, name: str) -> list[psutil.Process]:
    found = []
    for process in it.processes():
        with suppress(psutil.NoSuchProcess):  # setpriv, while it is tried
            found += [process] if process.name() == name else []
    return found


@pytest.mark.proof
def test_a_slow_start_says_what_it_waits_for(up: Callable[..., Any], tmp_path: Path) -> None:
    """The test freezes initdb, as on a machine that is far too busy."""
    it = up(tmp_path / "home")
    found = wait_until(lambda: called(it, "initdb"), what="initdb", timeout=60)
    found[0].suspend()
    late = "PostgreSQL is not ready after"
    wait_until(it.said, lambda said: late in said, what=late, timeout=60 + 10 * PROGRESS_INTERVAL)
    assert "initdb is still making the data" in it.said()
    found[0].resume()
    it.addresses()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_write_permission_is_named(up: Callable[..., Any], tmp_path: Path) -> None:
    tmp_path.joinpath("closed").mkdir(mode=0o500)
    it = up(tmp_path / "closed" / "home")
    assert it.process.wait(60) == 1
    assert "cannot hold the data: Permission denied. Give another --home." in it.said()


def test_a_process_that_is_not_ready_in_time_is_quoted() -> None:
    process = ChildProcess("python", ["code"])  # it greets on standard error, and then waits for input
    try:
        with pytest.raises(
            WaitError, match=r"timed out after 3 s, waiting for the python to be ready. It last said:\nPython 3"
        ):
            process.first_line(timeout=3)
    finally:
        process.kill()
