"""Wait in a notebook until something is true: with a timeout, visible progress and Interrupt."""

from __future__ import annotations

import asyncio
import inspect
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from threading import Event, Thread
from typing import Any, TypeVar, cast, overload

from temporalio.client import WorkflowHandle
from temporalio.service import RPCError

from order_lifecycle import waiting
from order_lifecycle.cli.report import no_worker_answered
from order_lifecycle.domain import TERMINAL, OrderState, OrderStatus
from order_lifecycle.visible import visible, visible_lines
from order_lifecycle.waiting import WaitError
from order_lifecycle.workflows.order import OrderWorkflow

T = TypeVar("T")

POLL_INTERVAL = 0.05  # s
SHOW_AFTER = 1.0  # s; from then on the cell shows what you wait for
MIN_SHOWN = 0.2  # s; a wait that is shorter would only flicker
CANCEL_TIMEOUT = 2.0  # s, for a cancelled coroutine to clean up
NO_PROGRESS = "ORDER_LIFECYCLE_NO_PROGRESS"  # set where outputs are compared, and nobody watches


class LabError(Exception):
    """Something in the notebook is wrong. The message says what, and what to do."""

    def _render_traceback_(self) -> list[str]:
        """Return what Jupyter shows: the message, without a traceback through the lab."""
        return [f"LabError: {visible_lines(str(self))}"]


@overload
async def wait_until(
    condition: Callable[[], Awaitable[T]],
    what: str | Callable[[], str],
    timeout: float = ...,
    hint: str | Callable[[], str] = ...,
) -> T: ...


@overload
async def wait_until(
    condition: Callable[[], T],
    what: str | Callable[[], str],
    timeout: float = ...,
    hint: str | Callable[[], str] = ...,
) -> T: ...


async def wait_until(
    condition: Callable[[], Awaitable[T] | T],
    what: str | Callable[[], str],
    timeout: float = 10.0,
    hint: str | Callable[[], str] = "are the workers running?",
) -> T:
    """Wait until `condition` returns something true, and return that.

    Args:
        condition: A function or an async function.
        what: What you wait for, in words, for the progress and the error. It may be a function
            that returns the words of the moment.
        timeout: Seconds to wait.
        hint: What to do if the condition does not become true, for the error.

    Raises:
        LabError: If the condition is not true after `timeout`.
    """

    async def look() -> T:
        result = condition()
        return cast(T, await result if inspect.isawaitable(result) else result)

    async with _with_progress(what):
        try:
            return await waiting.wait_until(look, lambda: _words(what), timeout, POLL_INTERVAL)
        except WaitError as error:
            raise LabError(f"{error}: {_words(hint)}") from None


async def wait_for_state(
    handle: WorkflowHandle[Any, Any], state: str, timeout: float = 10.0
) -> OrderStatus:
    """Wait until an order is in `state`, and return its answer to the query `status`.

    Raises:
        LabError: If the order ends in another state, or is not in `state` after `timeout` seconds.
    """
    wanted = OrderState(state)
    status: OrderStatus | None = None

    def what() -> str:
        if status is None:
            return f"{handle.id} to be {wanted}"
        now = f"it is {status.state or 'new'}, and waits for {status.waiting_for}"
        return f"{handle.id} to be {wanted} ({now})"

    def hint() -> str:
        step = status.step if status else "starting"
        hints = {
            "starting": "are the workers running?",
            "review": "does somebody review it?" if wanted in TERMINAL else "approve it first",
            "shipping": "is the shipping worker running?",
        }
        return hints.get(step, "does that step keep failing? `timeout` says how long to wait")

    async def there() -> OrderStatus | None:
        nonlocal status
        try:
            status = cast(OrderStatus, await handle.query(OrderWorkflow.status))
        except RPCError as error:
            if no_worker_answered(error):
                status = None
                return None
            raise
        if status.state in TERMINAL and status.state is not wanted:
            raise LabError(
                f"{handle.id} has ended as {status.state}, "
                f"so it will not be {wanted}: start a new order"
            )
        return status if status.state is wanted else None

    return cast(OrderStatus, await wait_until(there, what, timeout, hint))


async def watch(awaitable: Awaitable[T], what: str | Callable[[], str]) -> T:
    """Await `awaitable`, and show the progress that `wait_until` shows. There is no timeout.

    Args:
        awaitable: What to await.
        what: What you wait for, in words, or a function that returns them.
    """
    async with _with_progress(what):
        return await awaitable


@asynccontextmanager
async def _with_progress(what: str | Callable[[], str]) -> AsyncIterator[None]:
    """Show progress while the code inside awaits something."""
    with progress(what) as show_progress:

        async def keep_showing() -> None:
            while True:
                show_progress()
                await asyncio.sleep(POLL_INTERVAL)

        showing = asyncio.create_task(keep_showing())
        try:
            yield
        finally:
            showing.cancel()
            if showing.done():  # only an error ends it early, such as one that `what` raised
                showing.result()


def run_in_own_loop(
    coroutine: Coroutine[Any, Any, T], what: str | Callable[[], str] = "the check"
) -> T:
    """Run a coroutine in an event loop in a thread of its own, and return its result.

    A function that is not async needs this in a notebook, because the notebook's own loop is busy
    with the cell that calls it. Interrupt cancels the coroutine.

    Args:
        coroutine: What to run.
        what: What you wait for, in words, or a function that returns them.
    """
    loop = asyncio.new_event_loop()
    task = loop.create_task(coroutine)
    ended = Event()

    def run() -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: loop) as runner:
                runner.run(asyncio.wait([task]))
        finally:
            ended.set()

    # A daemon thread: a coroutine that blocks cannot be cancelled, but must not keep the kernel
    # from ending.
    Thread(target=run, daemon=True).start()
    with progress(what) as show_progress:
        try:
            # Not join(): after an Interrupt, it treats the thread as ended (before Python 3.13).
            while not ended.wait(POLL_INTERVAL):
                show_progress()
        except KeyboardInterrupt:
            with suppress(RuntimeError):  # the loop is closed, because the coroutine has just ended
                loop.call_soon_threadsafe(task.cancel)
            ended.wait(CANCEL_TIMEOUT)
            raise
    return task.result()


def wake_loop_for_signals() -> None:
    """Let Interrupt end a cell that awaits something that may never come.

    `await handle.result()` is such a cell. An event loop that sleeps does not notice a signal,
    unless it has a handler for some signal: then every signal wakes it. The handler is for SIGURG,
    which nobody uses here and which does nothing by default.
    """
    # An ordinary program has no running loop, and only the main thread may add a handler.
    with suppress(RuntimeError, ValueError, NotImplementedError):
        asyncio.get_running_loop().add_signal_handler(signal.SIGURG, lambda: None)


@contextmanager
def progress(what: str | Callable[[], str]) -> Iterator[Callable[[], None]]:
    """Yield a function that shows what you wait for, and for how long. Call it now and then.

    It shows nothing until the cell has run for SHOW_AFTER. At the end the line is removed.
    """
    began = time.monotonic()
    shown_after: float | None = None  # s after it began

    def show_progress() -> None:
        nonlocal shown_after
        now = time.monotonic()
        seconds = now - began
        too_soon = seconds < MIN_SHOWN or now - _cell.began < SHOW_AFTER
        if shown_after is not None and seconds - shown_after < SHOW_AFTER:
            too_soon = True
        if too_soon or not _progress_is_wanted():
            return
        _cell.show(f"waiting for {_words(what)} … {seconds:.0f} s")
        shown_after = seconds

    try:
        yield show_progress
    finally:
        if shown_after is not None:
            _cell.show("")


class _Cell:
    """The cell that runs: when it began, and the place in its output where progress is shown."""

    def __init__(self) -> None:
        self.begin()
        self.began -= SHOW_AFTER  # the cell that imports the lab has run for about that long
        if (shell := _shell()) is not None:
            shell.events.register("pre_run_cell", self.begin)

    def begin(self, _info: object = None) -> None:
        self.began = time.monotonic()
        self._shown: Any = None

    def show(self, words: str) -> None:
        text = {"text/plain": visible(words)}
        if self._shown is None:
            from IPython.display import display

            self._shown = display(text, raw=True, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._shown.update(text, raw=True)


def _words(what: str | Callable[[], str]) -> str:
    return what if isinstance(what, str) else what()


def _shell() -> Any:
    """Return IPython's shell, or None outside of a Jupyter kernel."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell if hasattr(shell, "kernel") else None


def _progress_is_wanted() -> bool:
    return _shell() is not None and NO_PROGRESS not in os.environ


_cell = _Cell()
