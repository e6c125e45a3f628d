"""The user presses Ctrl-C while a command waits for an order that no worker serves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import psutil
import pytest

from order_lifecycle.settings import Addresses
from tests.support.command_line import Answer
from tests.support.repeats import everyday
from tests.support.waiting import wait_until

ITEMS = '[{"name":"apple","qty":1,"price":5.00}]'
ADDRESS = '{"address":"575 Lake Dr.","city":"Columbus","state":"OH","zipcode":"43210"}'
Command = Callable[..., Answer]


@pytest.fixture(scope="module")
def own_servers(new_stack: Callable[[], AbstractContextManager[Addresses]]) -> Iterator[Addresses]:
    """Use separate servers, because the next worker of another test would take the orders of these tests."""
    with new_stack() as addresses:
        yield addresses


@pytest.fixture
def no_worker(own_servers: Addresses, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEMPORAL_HOST", own_servers.temporal_host)
    monkeypatch.setenv("DATABASE_URL", own_servers.database_url)


@pytest.mark.usefixtures("no_worker")
@pytest.mark.parametrize("arguments", everyday(["approve"], of=[["approve"], ["cancel"], ["status", "--watch"]]))
def test_after_ctrl_c_a_command_says_that_its_request_may_still_run(inside: Command, arguments: list[str]) -> None:
    name = f"interrupted-{arguments[0]}"
    assert inside("start", name, f"pay-{name}", "--items", ITEMS, "--address", ADDRESS).status == 0
    running = subprocess.Popen(
        [sys.executable, "-m", "order_lifecycle", arguments[0], name, *arguments[1:]],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        until_it_is_connected(running)
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=30)
    finally:
        running.kill()
    assert running.returncode == 130
    assert err.startswith("interrupted")
    assert err.count("\n") == 1
    if arguments[0] != "status":
        assert f"The order may still carry out the request: `order-lifecycle status {name}` shows it" in err


def until_it_is_connected(running: subprocess.Popen[str]) -> None:
    """Wait until it has a connection to Temporal: from then on it waits for the answer."""
    host, _, port = os.environ["TEMPORAL_HOST"].rpartition(":")

    def connected() -> bool:
        assert running.poll() is None
        found: list[Any] = psutil.Process(running.pid).net_connections()
        return any(each.raddr and each.raddr.port == int(port) and each.status == "ESTABLISHED" for each in found)

    wait_until(connected, what=f"a connection to {host}")
    time.sleep(0.5)  # for the request, which nothing outside shows
