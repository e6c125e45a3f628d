"""`lab.watch` in a real kernel: it shows its progress, and an interrupt ends it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.notebooks.kernel import Kernel, kernel


@pytest.fixture(scope="module")
def it() -> Iterator[Kernel]:
    with kernel() as it:
        it.right("import asyncio\nfrom order_lifecycle import lab")
        yield it


def test_watching_for_more_than_a_second_shows_what_it_waits_for(it: Kernel) -> None:
    request = it.send("await lab.watch(asyncio.sleep(1.7, 'tea'), 'the tea')")
    *waiting, gone, tea = it.shown(request)
    assert waiting
    assert all(re.fullmatch(r"waiting for the tea … \d s", each) for each in waiting)
    assert (gone, tea) == ("", "'tea'")


def test_watching_for_less_than_a_second_shows_no_progress(it: Kernel) -> None:
    request = it.send("await lab.watch(asyncio.sleep(0.1, 'tea'), 'the tea')")
    assert it.shown(request) == ["'tea'"]


def test_an_interrupt_ends_watching_and_its_progress(it: Kernel) -> None:
    request = it.send("await lab.watch(asyncio.sleep(60), 'what never comes')", stop_on_error=False)
    while "data" not in it.client.get_iopub_msg(timeout=10)["content"]:
        pass
    it.manager.interrupt_kernel()
    (reply,) = it.replies([request], timeout=5)
    assert reply["status"] == "error"
    assert it.shown(request)[-1] == ""
    it.right("assert not any('keep_telling' in repr(task) for task in asyncio.all_tasks())")
