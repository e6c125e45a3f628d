"""The parts of the lab that need no servers."""

from __future__ import annotations

import asyncio
import re

import pandas as pd
import pytest

from order_lifecycle import lab
from order_lifecycle.domain import OrderState
from order_lifecycle.lab import servers


@pytest.fixture(autouse=True)
def no_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "_servers", None)


@pytest.mark.parametrize("state", OrderState)
def test_the_diagram_highlights_one_state_and_says_so(state: OrderState) -> None:
    picture = lab.state_diagram(state)
    assert picture.alt.endswith(f"Now: {state}.")
    svg = str(picture.data)
    assert svg.count("now</text>") == 1
    assert len(re.findall(r'font-weight="bold"', svg)) == 1 + len(state.split("_"))  # beside "now", its name
    assert svg == lab.state_diagram(state).data  # so that it can be compared
    data, metadata = picture._repr_mimebundle_()
    assert data["text/plain"] == metadata["image/svg+xml"]["alt"] == picture.alt


def test_without_a_state_none_is_highlighted() -> None:
    assert "now" not in str(lab.state_diagram().data)


def test_an_unknown_state_is_refused_with_the_known_ones() -> None:
    with pytest.raises(lab.LabError, match="no state 'sent': choose one of received, "):
        lab.state_diagram("sent")


async def test_waiting_returns_the_result_as_soon_as_it_is_there() -> None:
    answers = iter([None, 0, "tea"])
    assert await lab.wait_until(lambda: next(answers), "the tea") == "tea"

    async def ask() -> str:
        return "tea"

    assert await lab.wait_until(ask, "the tea") == "tea"


@pytest.mark.parametrize("hangs", [False, True])
async def test_waiting_ends_at_its_timeout_and_says_what_it_waited_for(hangs: bool) -> None:
    async def never() -> bool:
        if hangs:
            await asyncio.sleep(60)
        return False

    with pytest.raises(lab.LabError, match=r"timed out after 0\.2 s, waiting for the tea: are the workers running\?"):
        async with asyncio.timeout(5):
            await lab.wait_until(never, "the tea", timeout=0.2)


async def test_watching_returns_the_result_or_raises_its_error() -> None:
    async def tea(error: Exception | None = None) -> str:
        await asyncio.sleep(0)
        if error:
            raise error
        return "tea"

    assert await lab.watch(tea(), "the tea") == "tea"
    with pytest.raises(ValueError, match="coffee"):
        await lab.watch(tea(ValueError("coffee")), "the tea")


async def test_cancelled_watching_leaves_no_task_behind() -> None:
    before = asyncio.all_tasks()
    never = asyncio.get_running_loop().create_future()
    watching = asyncio.create_task(lab.watch(never, "the tea"))
    await a_few_turns()
    assert len(asyncio.all_tasks() - before) == 2
    watching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watching
    assert never.cancelled()
    await a_few_turns()
    assert asyncio.all_tasks() == before


async def a_few_turns() -> None:
    """Let the event loop run a few turns."""
    for _ in range(5):
        await asyncio.sleep(0)


def test_without_servers_each_call_says_what_to_do() -> None:
    for ask in (lambda: lab.table("orders"), lambda: lab.start_worker("order"), lab.link):
        with pytest.raises(lab.LabError, match=r"run the cell with lab\.up\(\) first"):
            ask()
    with pytest.raises(lab.LabError, match="no table 'order': choose one of orders, payments, events"):
        lab.table("order")


def test_changes_are_marked_in_words() -> None:
    before = pd.DataFrame([{"id": "a", "state": "received"}, {"id": "b", "state": "received"}])
    after = pd.DataFrame(
        [{"id": "a", "state": "received"}, {"id": "b", "state": "failed"}, {"id": "c", "state": "new"}]
    )
    marked = lab.changes(before, after)
    assert list(marked["change"]) == ["", "changed", "new"]
    assert list(marked["state"]) == ["received", "received → failed", "new"]


def test_source_is_shown_with_the_name_of_its_file() -> None:
    shown = repr(lab.source(lab.wait_until))
    assert shown.startswith("# order_lifecycle/lab/waiting.py\nasync def wait_until(")
