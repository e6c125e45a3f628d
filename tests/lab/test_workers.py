"""What the lab shows of workers that die, stop or are missing, and the checks of exercises about them."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import nbformat
import pandas  # noqa: F401  # else the first lab.pending imports it, in the second that an attempt has
import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import IntegrityError
from temporalio import activity
from temporalio.client import Client

from order_lifecycle import lab
from order_lifecycle.db.store import connect
from order_lifecycle.domain import Address, EventType, Item, Order, OrderState, Policy
from order_lifecycle.faults import Faults, OutsideTimeoutError
from order_lifecycle.lab.process import LabProcess
from order_lifecycle.lab.servers import LabServers
from order_lifecycle.lab.views.history import Span
from order_lifecycle.lab.views.tables import store
from order_lifecycle.workflows.order import OrderWorkflow
from tests.lab.starting import Handle, Start

TOP = Path(__file__).parents[2]
LOST, STOPPED = "lost", "stopped"
ONE_SECOND = Policy(attempt_timeout=timedelta(seconds=1))


def hangs(seed: int, order_id: str, step: str, attempt: int, share: float = 0.4) -> bool:
    with suppress(OutsideTimeoutError):
        Faults(hang=share, seed=seed).call(f"order-{order_id}", step, attempt, 1, lambda seconds: None)
        return False
    return True


def first_charge_hangs(seed: int, order_id: str, share: float = 0.4) -> bool:
    """Return True if the first charge of this order hangs, the second works, and all earlier steps work."""
    steps = [("receive_order", 1), ("validate_order", 1), ("charge_payment", 1), ("charge_payment", 2)]
    return [hangs(seed, order_id, *step, share) for step in steps] == [False, False, True, False]


SEED = next(seed for seed in range(100_000) if first_charge_hangs(seed, LOST) and first_charge_hangs(seed, STOPPED))
PROVIDER = Faults(hang=0.4, seed=SEED)


async def charge_has_begun(handle: Handle) -> None:
    async def begun() -> bool:
        under_way = (await lab.pending(handle)).to_dict("records")
        return [(row["step"], row["now"]) for row in under_way] == [("charge_payment", "a worker has it")]

    await lab.wait_until(begun, "the charge to begin")


async def spans(handle: Handle, step: str) -> dict[str, Span]:
    """Return the spans of this step by their kind."""
    return {span.kind: span for span in (await lab.timeline(handle)).spans if span.step == step}


async def test_a_check_distinguishes_an_order_not_received_from_one_never_started(start: Start) -> None:
    handle = await start("early")
    assert "early was started, but no worker has received it yet. Hint: " in lab.check_killed("early").text
    assert "There is no order nobody. Hint: " in lab.check_killed("nobody").text
    await handle.terminate()


async def test_an_attempt_whose_worker_was_killed_lasts_until_its_timeout(
    lab_servers: LabServers, start: Start
) -> None:
    first = lab.start_worker("order", PROVIDER)
    handle = await start(LOST, ONE_SECOND)
    await handle.signal(OrderWorkflow.approve_order)
    await charge_has_begun(handle)
    first.kill()
    assert "not charged" in lab.check_killed(LOST).text

    async def given_up() -> bool:
        return bool((await lab.pending(handle))["attempt"].eq(2).all())

    await lab.wait_until(given_up, "the attempt to time out")
    assert (await lab.pending(handle)).to_dict("records") == [
        {
            "workflow": "order-lost",
            "step": "charge_payment",
            "attempt": 2,
            "now": "waits for a worker",
            "last failure": "activity StartToClose timeout",
        }
    ]
    waiting = await spans(handle, "charge_payment")
    assert (waiting["step"].outcome, waiting["step"].attempt, waiting["step"].end) == ("waiting", 2, None)
    assert waiting["step"].queued == waiting["retries"].end
    assert waiting["step"].start > waiting["step"].queued

    second = lab.start_worker("order", PROVIDER)
    await lab.wait_for_state(handle, "charged")
    done = await spans(handle, "charge_payment")
    assert (done["step"].outcome, done["step"].attempt) == ("ok", 2)
    assert done["retries"].end == done["step"].queued == pytest.approx(done["retries"].start + 1.0)
    assert done["step"].start - done["step"].queued > 0.1  # a worker takes longer to start
    assert list((await lab.who(handle, first=first, second=second))["worker"]) == ["first"] * 3 + ["second"]
    assert list((await lab.who(handle, second=second))["worker"]) == ["another"] * 3 + ["second"]
    assert lab.check_killed(LOST).ok
    assert (await lab.pending(handle)).empty
    second.stop()


@pytest.fixture(scope="module")
def order_worker(lab_servers: LabServers) -> Iterator[LabProcess]:
    worker = lab.start_worker("order", PROVIDER)
    yield worker
    worker.stop()


async def test_a_check_distinguishes_a_charge_that_failed_from_one_that_was_lost(
    order_worker: LabProcess, start: Start
) -> None:
    handle = await start(STOPPED, Policy(attempt_timeout=timedelta(seconds=2)))
    await handle.signal(OrderWorkflow.approve_order)
    await lab.wait_for_state(handle, "charged")
    assert "A worker could still report the failure: charge_payment did not answer" in lab.check_killed(STOPPED).text
    easy = next(name for name in map(str, range(1000)) if not hangs(SEED, name, "charge_payment", 1))
    handle = await start(easy)
    assert f"{easy} is" in (await at("awaiting_review", handle)).text
    await handle.signal(OrderWorkflow.approve_order)
    assert "worked at the first attempt" in (await at("charged", handle)).text
    assert "There is no order nobody" in lab.check_killed("nobody").text


async def at(state: str, handle: Handle) -> Any:
    await lab.wait_for_state(handle, state)
    return lab.check_killed(handle.id.removeprefix("order-"))


async def test_the_timeline_shows_a_child_that_waits_for_a_worker(order_worker: LabProcess, start: Start) -> None:
    handle = await start("childless")
    await handle.signal(OrderWorkflow.approve_order)
    await lab.wait_for_state(handle, "charged")
    child = (await spans(handle, "ship-childless-1"))["child"]
    assert (child.outcome, child.end) == ("running", None)
    assert child.start > child.queued
    worker = lab.start_worker("shipping")
    await handle.result()
    child = (await spans(handle, "ship-childless-1"))["child"]
    assert child.start - child.queued > 0.1
    assert child.start <= (await spans(handle, "prepare_package"))["step"].queued
    worker.stop()


async def test_the_timeline_shows_a_child_that_no_worker_took(
    order_worker: LabProcess, start: Start, client: Client
) -> None:
    handle = await start("never")
    await handle.signal(OrderWorkflow.approve_order)
    await lab.wait_for_state(handle, "charged")
    await handle.signal(OrderWorkflow.cancel_order)
    await handle.result()
    child = client.get_workflow_handle("ship-never-1")

    async def ended() -> bool:
        return (await child.describe()).close_time is not None

    await lab.wait_until(ended, "the server to end the child")
    waited = (await spans(handle, "ship-never-1"))["child"]
    assert waited.queued < waited.start
    assert waited.outcome == "abandoned"
    assert waited.end is not None
    assert waited.end >= waited.start
    assert (await spans(handle, "ship-never-1"))["child"] == waited  # it does not wait any more


@pytest.mark.parametrize("order_id", ["before", "after", "polite", "mine", "mine-57", "mine-67", "yours"])
def test_the_first_charge_of_the_orders_of_notebook_06_hangs(order_id: str) -> None:
    cells = nbformat.read(TOP / "notebooks" / "06_kill_the_worker.ipynb", as_version=4).cells
    text = "\n".join(cell.source for cell in cells)
    assert f'buy("{order_id}")' in text or f"`{order_id}`" in text
    provider = re.search(r"lab.Faults\(hang=([\d.]+), seed=(\d+)\)", text)
    assert provider
    assert first_charge_hangs(int(provider[2]), order_id, float(provider[1]))


def test_a_worker_for_an_unknown_lesson_says_why_it_ended(lab_servers: LabServers) -> None:
    with pytest.raises(lab.LabError, match=r"(?s)no_such worker to poll its queue: it ended.*No module named"):
        lab.start_lesson_worker("no_such")


@cache
def engine() -> Engine:
    return connect(os.environ["DATABASE_URL"])


def as_given(order_id: str, points: int) -> None:
    """As the exercise is given."""


@activity.defn
def empty(order_id: str, points: int) -> None:
    """Do nothing: only the decorator is there."""


def sql(statement: str, *, swallowed: bool = False) -> Callable[[str, int], None]:
    @activity.defn
    def run(order_id: str, points: int) -> None:
        with engine().begin() as tx:
            with suppress(IntegrityError) if swallowed else nullcontext():
                tx.execute(text(statement), {"order_id": order_id, "points": points})
            tx.execute(text("SELECT 1"))  # the transaction goes on

    return run


@activity.defn
async def never_waits(order_id: str, points: int) -> None:
    sql(f"{INSERT} ON CONFLICT DO NOTHING")(order_id, points)


@activity.defn
def looks_first(order_id: str, points: int) -> None:
    with engine().begin() as tx:
        row = {"order_id": order_id, "points": points}
        if tx.scalar(text("SELECT count(*) FROM points WHERE order_id = :order_id"), row) == 0:
            tx.execute(text(INSERT), row)


@activity.defn
def looks_in_another_transaction(order_id: str, points: int) -> None:
    with engine().connect() as tx:
        found = tx.scalar(text("SELECT count(*) FROM points WHERE order_id = :order_id"), {"order_id": order_id})
    if not found:
        sql(INSERT)(order_id, points)


@activity.defn
def does_not_commit(order_id: str, points: int) -> None:
    with engine().connect() as tx:
        tx.execute(text(f"{INSERT} ON CONFLICT DO NOTHING"), {"order_id": order_id, "points": points})


@activity.defn
def gives_up_its_transaction(order_id: str, points: int) -> None:
    with suppress(IntegrityError):
        sql(INSERT)(order_id, points)


@activity.defn
def catches_everything(order_id: str, points: int) -> None:
    with suppress(Exception):
        sql(INSERT)(order_id, points)


@activity.defn
def makes_the_table(order_id: str, points: int) -> None:
    sql("CREATE TABLE IF NOT EXISTS points (order_id text PRIMARY KEY, points int NOT NULL)")(order_id, points)
    sql(f"{INSERT} ON CONFLICT DO NOTHING")(order_id, points)


@activity.defn
def locks_the_table(order_id: str, points: int) -> None:
    row = {"order_id": order_id, "points": points}
    with engine().begin() as tx:
        tx.execute(text("LOCK TABLE points"))
        if tx.scalar(text("SELECT count(*) FROM points WHERE order_id = :order_id"), row) == 0:
            tx.execute(text(INSERT), row)


INSERT = "INSERT INTO points VALUES (:order_id, :points)"


@pytest.mark.parametrize(
    ("give_points", "says"),
    [
        (as_given, "A worker would refuse it, because it is not an activity. Hint: `@activity.defn`"),
        (None, "None is not a function"),
        (never_waits, "It is `async def`"),
        (empty, "There is no row for the order after the first attempt"),
        (does_not_commit, "There is no row for the order after the first attempt"),
        (
            sql(INSERT.replace("points", "point", 1)),
            'ProgrammingError: (psycopg2.errors.UndefinedTable) relation "point"',
        ),
        (sql(INSERT), "IntegrityError in the second attempt: no later attempt would succeed either"),
        (
            sql(f"{INSERT} ON CONFLICT (order_id) DO UPDATE SET points = points.points + excluded.points"),
            "The order has 20 points after the second attempt, not 10",
        ),
        (looks_first, "IntegrityError in two attempts at the same time: it fails although the work is done"),
        (looks_in_another_transaction, "IntegrityError in two attempts at the same time"),
        (sql(INSERT, swallowed=True), "In the second attempt your code caught an error inside the transaction"),
        (catches_everything, "Without the table it still returned without an error"),
        (sql(f"{INSERT} ON CONFLICT DO NOTHING"), "✓ Right."),
        (gives_up_its_transaction, "✓ Right."),
        (makes_the_table, "permission denied for schema public"),
        (locks_the_table, "✓ Right."),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_step_that_is_safe_to_repeat_passes_and_each_mistake_is_named(
    lab_servers: LabServers, give_points: Callable[[str, int], object], says: str
) -> None:
    said = lab.check_safe_to_repeat(give_points).text
    assert says in said
    assert said.startswith("✓") or "Hint: " in said


def test_the_check_of_the_shipping_tries_names_each_mistake(lab_servers: LabServers) -> None:
    def ended(order_id: str, tries: int, end: OrderState | None = OrderState.FAILED) -> str:
        item = Item(name="apple", qty=1, price="1.00")  # type: ignore[arg-type]
        address = Address(address="575 Lake Dr.", city="Columbus", state="OH", zipcode="43210")
        order = Order(id=order_id, payment_id=f"pay-{order_id}", items=[item], address=address)
        store().receive(order, "run")
        store().validate(order)
        store().advance(order_id, EventType.ORDER_APPROVED)
        store().charge(order_id, order.payment_id)
        for number in range(1, tries + 1):
            store().note(order_id, EventType.DISPATCH_FAILED, f"run/{number}", {"reason": "no"})
        if end is not None:
            store().close(order, "run", end, "no")
        return lab.check_tries(order_id, 5).text

    assert "There is no order tried-0" in lab.check_tries("tried-0", 5).text
    assert "Shipping tried-3 was tried 3 times, not 5" in ended("tried-3", 3)
    assert "tried-on is charged, after 4 shipping tries" in ended("tried-on", 4, None)
    assert ended("tried-5", 5).startswith("✓ Right.")


async def fair(step: Any, cancel: asyncio.Event) -> Any:
    task, cancelled = asyncio.create_task(step), asyncio.create_task(cancel.wait())
    await asyncio.wait([task, cancelled], return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        return task.result()
    task.cancel()
    return None


async def unsolved(step: Any, cancel: asyncio.Event) -> None:
    """As the exercise is given."""


async def deaf(step: Any, cancel: asyncio.Event) -> Any:
    return await step


async def waits_for_both(step: Any, cancel: asyncio.Event) -> Any:
    task, cancelled = asyncio.create_task(step), asyncio.create_task(cancel.wait())
    try:
        await asyncio.wait([task, cancelled])
    finally:
        cancelled.cancel()
    return task.result()


async def lets_it_run(step: Any, cancel: asyncio.Event) -> Any:
    task, cancelled = asyncio.create_task(step), asyncio.create_task(cancel.wait())
    done, _ = await asyncio.wait([task, cancelled], return_when=asyncio.FIRST_COMPLETED)
    return task.result() if task in done else None


async def awaits_the_cancelled(step: Any, cancel: asyncio.Event) -> Any:
    task, cancelled = asyncio.create_task(step), asyncio.create_task(cancel.wait())
    await asyncio.wait([task, cancelled], return_when=asyncio.FIRST_COMPLETED)
    if cancel.is_set():
        task.cancel()
    return await task


async def returns_the_failure(step: Any, cancel: asyncio.Event) -> Any:
    try:
        return await fair(step, cancel)
    except ValueError as error:
        return error


async def waits_for_a_success(step: Any, cancel: asyncio.Event) -> Any:
    task, cancelled = asyncio.create_task(step), asyncio.create_task(cancel.wait())
    await asyncio.wait([task, cancelled], return_when=asyncio.FIRST_COMPLETED)
    if task.done() and task.exception():
        await cancelled
    if task.done():
        return task.result()
    task.cancel()
    return None


async def hides_failures(step: Any, cancel: asyncio.Event) -> Any:
    with suppress(ValueError):
        return await fair(step, cancel)


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning", "error::RuntimeWarning")
@pytest.mark.parametrize(
    ("race", "says"),
    [
        (unsolved, "`race` returned None"),
        (deaf, "`race` still waits for the step"),
        (waits_for_both, "`race` still waits. Hint: `return_when=asyncio.FIRST_COMPLETED`"),
        (lets_it_run, "but the step still runs"),
        (awaits_the_cancelled, "`race` raised CancelledError()"),
        (hides_failures, "The step raised a ValueError, but `race` returned None"),
        (waits_for_a_success, "The step raised a ValueError, but `race` still waits"),
        (returns_the_failure, "The step raised a ValueError, but `race` returned ValueError("),
        (fair, "✓ Right."),
    ],
)
def test_the_check_of_the_race_names_each_mistake(race: Any, says: str) -> None:
    said = lab.check_race(race).text
    assert says in said
    assert said.startswith("✓") or "Hint: " in said


def test_a_column_in_place_of_its_sum_is_named(lab_servers: LabServers) -> None:
    refunded = lab.table("payments").query("status == 'refunded'")["amount"]
    assert "Expected a number, got Series. Hint: use `.sum()`" in lab.check_refunds(refunded).text
    assert "Expected a number" not in lab.check_refunds(refunded.sum()).text
