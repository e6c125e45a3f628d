"""Check the exercises of notebook 06: a killed worker, and an activity that is safe to repeat."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from psycopg2.errors import InFailedSqlTransaction
from sqlalchemy import Connection, text
from temporalio.api.history.v1 import ActivityTaskStartedEventAttributes
from temporalio.testing import ActivityEnvironment

from order_lifecycle.client import connect, workflow_id
from order_lifecycle.lab.checks.base import Check, no_order_message, row_of
from order_lifecycle.lab.views.tables import owner_engine, store
from order_lifecycle.lab.waiting import run_in_own_loop
from order_lifecycle.temporal_compat import is_activity

Activity = Callable[[str, int], object]

POINTS = 10


def check_killed(order_id: str) -> Check:
    """Check that the order was charged once although a worker was killed during the charge."""
    order, payment = row_of("orders", order_id), row_of("payments", order_id)
    wrong: str | None
    if order is None:
        wrong = no_order_message(order_id, f'`await buy("{order_id}")`.')
    elif payment is None:
        wrong = (
            f"{order_id} is {order['state']}, and not charged. "
            "Hint: start a new worker, and wait for `charged`."
        )
    else:
        wrong = _how_its_charge_went(order_id)
    return Check(
        wrong,
        f"Two workers began the charge of {order_id}, and the money moved once.",
    )


def _how_its_charge_went(order_id: str) -> str | None:
    started = run_in_own_loop(_charge(order_id))
    if started is None:
        return (
            f"The money of {order_id} has moved, but no worker has reported the charge yet. "
            "Hint: start a worker, and wait for `charged`."
        )
    if started.attempt == 1:
        return (
            f"The charge of {order_id} worked at the first attempt. Hint: start the worker with "
            "`provider`, and name the order `mine`, `mine-57` or `mine-67`. "
            "With another name the charge may not hang."
        )
    if not started.last_failure.HasField("timeout_failure_info"):
        return (
            f"A worker could still report the failure: {started.last_failure.message}. "
            "Hint: in the cell that waits for the charge to begin, call `kill()`, not `stop()`, "
            "before the attempt times out. If two workers run, kill both."
        )
    return None


async def _charge(order_id: str) -> ActivityTaskStartedEventAttributes | None:
    """Return the attempt that ended the order's charge, or None until a worker has reported it."""
    handle = (await connect()).get_workflow_handle(workflow_id(order_id))
    events = (await handle.fetch_history()).events
    charges = (
        event.event_id
        for event in events
        if event.activity_task_scheduled_event_attributes.activity_type.name == "charge_payment"
    )
    charge = next(charges, None)
    attempts = (event.activity_task_started_event_attributes for event in events)
    return next((each for each in attempts if each.scheduled_event_id == charge), None)


def check_safe_to_repeat(give_points: Activity) -> Check:
    """Check that `give_points(order_id, points)` is an activity that is safe to repeat.

    However often it runs, it has to leave one row in the table `points`.
    """
    _make_the_table()
    attempts: list[tuple[Callable[[], object], str]] = [
        (lambda: _run(give_points), "the first attempt"),
        (lambda: _run(give_points), "the second attempt"),
        (lambda: _run_twice_at_once(give_points), "two attempts at the same time"),
    ]
    wrong = _why_no_worker_takes_it(give_points)
    for run, which in attempts:
        wrong = wrong or _what_is_wrong(run, which)
    wrong = wrong or _why_points_can_be_lost(give_points)
    return Check(wrong, "One attempt, two, or two at the same time: the order has its points once.")


def _make_the_table() -> None:
    with owner_engine().begin() as tx:
        tx.execute(text("DROP TABLE IF EXISTS points"))
        tx.execute(text("CREATE TABLE points (order_id text PRIMARY KEY, points int NOT NULL)"))
        tx.execute(text("GRANT ALL ON points TO PUBLIC"))


def _points() -> list[int]:
    """Return the points from each of the order's rows. Without a table there are none."""
    with store().engine.connect() as tx:
        if tx.scalar(text("SELECT to_regclass('points')")) is None:
            return []
        return list(tx.scalars(text("SELECT points FROM points WHERE order_id = 'abc'")))


def _why_no_worker_takes_it(function: object) -> str | None:
    if not callable(function):
        return f"{function!r} is not a function. Hint: `def give_points(order_id, points):`."
    if not is_activity(function):
        return (
            "A worker would refuse it, because it is not an activity. "
            "Hint: `@activity.defn`, in the line above `def`."
        )
    if inspect.iscoroutinefunction(function):
        return (
            "It is `async def`, so its worker can do nothing else while it waits for the database. "
            "Hint: write `def`, because a worker runs that in a thread."
        )
    return None


def _what_is_wrong(run: Callable[[], object], which: str) -> str | None:
    try:
        run()
    except Exception as error:
        if which == "the first attempt":
            says = str(error).splitlines()[0]
            return (
                f"It raises {type(error).__name__}: {says}. "
                "Hint: `with store.engine.begin() as tx:`, "
                'and in it `tx.execute(text("INSERT INTO points …"), {…})`.'
            )
        if isinstance(error.__cause__, InFailedSqlTransaction):
            return (
                f"In {which} your code caught an error inside the transaction. After an error, "
                "PostgreSQL refuses every further statement of that transaction. "
                "Hint: `INSERT … ON CONFLICT DO NOTHING` raises no error."
            )
        then = (
            "it fails although the work is done"
            if "same time" in which
            else "no later attempt would succeed either"
        )
        return (
            f"It raises {type(error).__name__} in {which}: {then}. "
            "Hint: `INSERT … ON CONFLICT DO NOTHING`."
        )
    rows = _points()
    if not rows:
        return (
            f"There is no row for the order after {which}. "
            "Hint: `with store.engine.begin() as tx:` commits at its end; "
            'in it, `tx.execute(text("INSERT INTO points …"), {…})`.'
        )
    if rows != [POINTS]:
        return (
            f"The order has {rows[0]} points after {which}, not {POINTS}. "
            "Hint: keep the row of the first attempt, with `ON CONFLICT DO NOTHING`."
        )
    return None


def _why_points_can_be_lost(give_points: Activity) -> str | None:
    """Say whether an attempt that cannot write returns as if it had worked.

    Temporal does not retry such an attempt, so the points would be lost.
    """
    with owner_engine().begin() as tx:
        tx.execute(text("DROP TABLE points"))
    try:
        _run(give_points)
        if _points():  # it has made the table itself
            return None
    except Exception:
        return None
    finally:
        _make_the_table()
    return (
        "Without the table it still returned without an error. "
        "Temporal would not retry it, and the points would be lost. "
        "Hint: catch nothing, and use `ON CONFLICT DO NOTHING`; or catch only `IntegrityError`."
    )


def _run(give_points: Activity) -> None:
    """Run the activity once, as a worker does."""
    ActivityEnvironment().run(give_points, "abc", POINTS)


def _run_twice_at_once(give_points: Activity) -> None:
    """Run two attempts, neither of which can write before both are about to.

    So neither can see what the other has written.
    """
    with store().engine.begin() as tx:
        tx.execute(text("DELETE FROM points"))
    with ThreadPoolExecutor(2) as threads:
        with store().engine.begin() as tx:
            tx.execute(text("LOCK TABLE points IN SHARE ROW EXCLUSIVE MODE"))  # reads still work
            attempts = [threads.submit(_run, give_points) for _ in range(2)]
            _until_all_wait(tx, attempts)
        for attempt in attempts:
            attempt.result()


def _until_all_wait(tx: Connection, attempts: list[Future[None]]) -> None:
    """Wait until every attempt waits for the transaction `tx` or has ended, at most 2 s."""
    # Not pg_stat_activity: inside a transaction, it shows the same rows until the end.
    waiting = text(
        "SELECT count(DISTINCT pid) FROM pg_locks "
        "WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid))"
    )
    for _ in range(200):
        ended = sum(attempt.done() for attempt in attempts)
        if ended + tx.execute(waiting).scalar_one() >= len(attempts):
            return
        tx.execute(text("SELECT pg_sleep(0.01)"))
