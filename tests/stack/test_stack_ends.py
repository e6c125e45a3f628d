"""A stack leaves nothing behind, however it ends."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from order_lifecycle.stack.home import Home
from tests.support.repeats import everyday
from tests.support.waiting import wait_until

ASKED: dict[str, Callable[[Any], object]] = {
    "Ctrl-C": lambda it: it.signal_its_group(signal.SIGINT),
    "SIGTERM": lambda it: it.process.send_signal(signal.SIGTERM),
    "SIGHUP": lambda it: it.process.send_signal(signal.SIGHUP),
}


@pytest.mark.parametrize("way", everyday("Ctrl-C", of=ASKED))
def test_a_stack_stops_when_asked_to(up: Callable[..., Any], way: str) -> None:
    it = up(None)
    home = Path(it.addresses().home)
    assert home.exists()
    assert it.end(lambda: ASKED[way](it)) == 0
    assert f"Stopping: {way}." in it.said()
    assert not home.exists()


@pytest.mark.proof
def test_ctrl_c_stops_a_stack_that_starts(up: Callable[..., Any], tmp_path: Path) -> None:
    it = up(tmp_path / "home")
    version = tmp_path / "home" / "postgres.new" / "PG_VERSION"
    wait_until(version.exists, what="the middle of initdb", timeout=20)
    assert {"temporal", "initdb"} <= {process.name() for process in it.processes()}
    assert it.end(lambda: it.signal_its_group(signal.SIGINT)) == 0
    assert "Stopped while starting: Ctrl-C." in it.said()


def test_a_stack_stops_when_its_parent_is_killed(up: Callable[..., Any]) -> None:
    holds_its_lifeline = """
import subprocess, sys
subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, start_new_session=True).wait()
"""
    it = up(None, before=[sys.executable, "-c", holds_its_lifeline])
    home = Path(it.addresses().home)
    it.end(it.process.kill)
    assert "Stopping: standard input has ended." in it.said()
    assert not home.exists()


@pytest.mark.proof
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent is gone")
def test_the_servers_stop_when_the_supervisor_is_killed(up: Callable[..., Any]) -> None:
    it = up(None)
    home = Path(it.addresses().home)
    assert home.exists()
    it.end(it.process.kill)
    Home(None).close()
    # This one has cleaned up; or another test's, which may still be at it.
    wait_until(lambda: not home.exists(), what="the home to be removed", timeout=10)


@pytest.mark.parametrize(
    ("program", "name"), [("postgres", "PostgreSQL"), pytest.param("temporal", "Temporal", marks=pytest.mark.proof)]
)
def test_a_stack_stops_when_one_of_its_servers_dies(up: Callable[..., Any], program: str, name: str) -> None:
    it = up(None)
    it.addresses()
    server: psutil.Process = next(process for process in it.processes() if process.name() == program)
    assert it.end(server.kill) == 1
    assert f"{name} ended by itself, so the rest is stopped too: killed by SIGKILL; the end of its log:" in it.said()
