"""Checks of the exercises about workers that die."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from psycopg2.errors import InFailedSqlTransaction
from sqlalchemy import Connection, text
from temporalio.api.history.v1 import ActivityTaskStartedEventAttributes

from order_lifecycle.client import connect, workflow_id
from order_lifecycle.lab.check import Check, _row
from order_lifecycle.lab.tables import store
from order_lifecycle.lab.waiting import in_a_loop_of_its_own

POINTS = 10


def check_killed(order_id: str) -> Check:
    """Was the order charged once, although a worker was killed in the middle of the charge?"""
    order, payment = _row("orders", order_id), _row("payments", order_id)
    wrong: str | None
    if order is None:
        wrong = f'There is no order {order_id}. Hint: `await buy("{order_id}")`.'
    elif payment is None:
        wrong = f"{order_id} is {order['state']}, and not charged. Hint: start a new worker, and wait for `charged`."
    else:
        wrong = _how_its_charge_went(order_id)
    return Check(wrong, f"The charge of {order_id} was begun twice, by two workers, and the money moved once.")


def _how_its_charge_went(order_id: str) -> str | None:
    started = in_a_loop_of_its_own(_charge(order_id))
    if started.attempt == 1:
        return f"The charge of {order_id} worked at once. Hint: give the worker `provider`, and the charge will hang."
    if not started.last_failure.HasField("timeout_failure_info"):
        return (
            f"The worker lived to report its failure: {started.last_failure.message}. Hint: `kill()` it, not `stop()`, "
            "in the cell that waits for the charge to begin, before it gives up by itself; and if two run, kill both."
        )
    return None


async def _charge(order_id: str) -> ActivityTaskStartedEventAttributes:
    """The last attempt at the order's charge, as the history has it."""
    events = (await (await connect()).get_workflow_handle(workflow_id(order_id)).fetch_history()).events
    charge = next(
        event.event_id
        for event in events
        if event.activity_task_scheduled_event_attributes.activity_type.name == "charge_payment"
    )
    attempts = (event.activity_task_started_event_attributes for event in events)
    return next(attempt for attempt in attempts if attempt.scheduled_event_id == charge)


def check_safe_to_repeat(give_points: Callable[[Connection, str, int], object]) -> Check:
    """Does `give_points(tx, order_id, points)` write one row into `points`, however often it is called?"""
    with store().engine.begin() as tx:
        tx.execute(text("DROP TABLE IF EXISTS points"))
        tx.execute(text("CREATE TABLE points (order_id text PRIMARY KEY, points int NOT NULL)"))
    steps: list[tuple[Callable[[], object], str]] = [
        (lambda: _give(give_points), "after one call"),
        (lambda: _give(give_points), "after the second call"),
        (lambda: _give_twice_at_once(give_points), "after two calls at the same time"),
    ]
    wrong = None
    for call, when in steps:
        wrong = wrong or _what_is_wrong(call, when)
    return Check(wrong, "Once, twice or at the same time: the order has its points once.")


def _what_is_wrong(call: Callable[[], object], when: str) -> str | None:
    try:
        call()
    except Exception as error:
        if when == "after one call":
            says = str(error).splitlines()[0]
            return f'It raises {type(error).__name__}: {says}. Hint: `tx.execute(text("INSERT INTO points …"), {{…}})`.'
        if isinstance(error.__cause__, InFailedSqlTransaction):
            return (
                f"An error was caught inside the transaction {when.replace('after', 'at')}: PostgreSQL takes nothing "
                "more in it, and undoes it. Hint: `INSERT … ON CONFLICT DO NOTHING` raises none."
            )
        then = "the attempt fails though its work is done" if "same time" in when else "a retry would never succeed"
        return (
            f"It raises {type(error).__name__} {when.replace('after', 'at')}: {then}. "
            "Hint: `INSERT … ON CONFLICT DO NOTHING`."
        )
    with store().engine.connect() as tx:
        rows = [tuple(row) for row in tx.execute(text("SELECT order_id, points FROM points WHERE order_id = 'abc'"))]
    if not rows:
        return f'There is no row for the order {when}. Hint: `tx.execute(text("INSERT INTO points …"), {{…}})`.'
    if rows != [("abc", POINTS)]:
        return (
            f"The order has {rows[0][1]} points {when}, not {POINTS}. "
            "Hint: what the first call wrote must stay as it is: `ON CONFLICT DO NOTHING`."
        )
    return None


def _give(give_points: Callable[[Connection, str, int], object]) -> None:
    with store().engine.begin() as tx:
        give_points(tx, "abc", POINTS)
        tx.execute(text("SELECT 1"))  # an activity's transaction goes on: with the order's state, and its event


def _give_twice_at_once(give_points: Callable[[Connection, str, int], object]) -> None:
    """The first transaction is still open while the second begins: so neither can see what the other has written."""
    with store().engine.begin() as tx:
        tx.execute(text("DELETE FROM points"))
    with ThreadPoolExecutor(1) as threads:
        with store().engine.begin() as tx:
            give_points(tx, "abc", POINTS)
            second = threads.submit(_give, give_points)
            # It waits for the first one, or it has ended already because it does not write.
            _until_it_waits(tx, second.done)
        second.result()


def _until_it_waits(tx: Connection, done: Callable[[], bool]) -> None:
    waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid))")
    for _ in range(500):
        if done() or tx.scalar(waiting):
            return
        tx.execute(text("SELECT pg_sleep(0.01)"))  # between two looks
