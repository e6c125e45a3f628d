"""`lab.watch` in a real kernel: what is seen of a wait, and that an Interrupt ends it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from kernel import Kernel, kernel

from order_lifecycle.lab.waiting import NO_PROGRESS


@pytest.fixture(scope="module")
def it() -> Iterator[Kernel]:
    with kernel() as it:
        it.right(f"import asyncio, os\nfrom order_lifecycle import lab\nos.environ.pop({NO_PROGRESS!r}, None)")
        yield it


def shown(it: Kernel, request: str) -> list[str]:
    """The texts that a cell showed, from its first to its result."""
    found = []
    while True:
        message = it.client.get_iopub_msg(timeout=10)
        if message["parent_header"].get("msg_id") != request:
            continue
        if "data" in message["content"]:
            found.append(message["content"]["data"]["text/plain"])
        if message["content"].get("execution_state") == "idle":
            return found


def test_who_watches_for_more_than_a_second_sees_for_what(it: Kernel) -> None:
    request = it.send("await lab.watch(asyncio.sleep(1.7, 'tea'), 'the tea')")
    assert shown(it, request) == ["waiting for the tea … 1 s", "", "'tea'"]


def test_what_comes_within_a_second_is_all_that_is_seen(it: Kernel) -> None:
    request = it.send("await lab.watch(asyncio.sleep(0.1, 'tea'), 'the tea')")
    assert shown(it, request) == ["'tea'"]


def test_an_interrupt_ends_it_and_what_it_shows(it: Kernel) -> None:
    request = it.send("await lab.watch(asyncio.sleep(60), 'what never comes')", stop_on_error=False)
    while "data" not in it.client.get_iopub_msg(timeout=10)["content"]:
        pass
    it.manager.interrupt_kernel()
    (reply,) = it.replies([request], at_most=5)
    assert reply["status"] == "error"
    assert shown(it, request)[-1] == ""
    it.right("assert not any('keep_telling' in repr(task) for task in asyncio.all_tasks())")
