"""Handle how each process of this project ends: signals, the lifeline, and a clean exit.

A lifeline is a pipe: the child reads it as its standard input, and only the parent holds it open.
It ends when the parent does, however that happens.
"""

from __future__ import annotations

import asyncio
import atexit
import ctypes
import gc
import os
import select
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Coroutine
from typing import IO, Any, TypeVar

T = TypeVar("T")

# A process that used a Temporal client can crash while Python shuts down, with exit code 134 or
# 139, after all work is done (https://github.com/temporalio/sdk-python/issues/300). If the event
# loop runs 0.1 s longer, the SDK's own threads end first. With it, 0 of 50 runs crashed, and
# without it about 1 in 10.
_SHUTDOWN_DELAY = 0.1  # s


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine as `asyncio.run` does, without the crash described above.

    In a notebook's kernel an event loop runs already (`%run -m order_lifecycle …`). There
    nest-asyncio2 patches the loop, so that it can be entered a second time.
    """

    async def main_then_delay() -> T:
        try:
            return await main
        finally:
            await asyncio.sleep(_SHUTDOWN_DELAY)

    skip_final_garbage_collection()
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(main_then_delay())
    import nest_asyncio2

    nest_asyncio2.apply()
    return asyncio.run(main_then_delay())


def skip_final_garbage_collection() -> None:
    """Let this process end without Python's last garbage collection.

    That collection frees almost nothing, because everything that was imported is still in use.
    Without it, a command takes a quarter less processor time, and a notebook's kernel ends up to
    two and a half seconds sooner.
    """
    atexit.register(gc.freeze)


def stop_requests(lifeline: bool = False) -> asyncio.Event:
    """Return an event that is set when this process is asked to stop, by SIGTERM or Ctrl-C.

    Call it in the main thread, in a running loop.

    Args:
        lifeline: Set the event at the end of standard input, too.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if lifeline:
        when_input_ends(lambda: loop.call_soon_threadsafe(stop.set))
    return stop


def when_input_ends(then: Callable[[], object], timeout: float = 10.0) -> None:
    """Call `then` when standard input ends, or when the parent of this process ends.

    The pipe may outlive the parent, because a process that the parent has forked may hold it open.
    So this watches the parent as well. If this process was stopped by SIGSTOP, it continues when
    its parent ends.

    Args:
        then: A function that stops this process in order.
        timeout: Seconds after which this process exits at once if it still runs.
    """
    parent = os.getppid()
    _continue_when_parent_ends()

    def watch() -> None:
        # os.read, not sys.stdin: a daemon thread that holds the lock of sys.stdin keeps Python from
        # exiting.
        while os.getppid() == parent:
            if select.select([0], [], [], PARENT_POLL_INTERVAL)[0] and not os.read(0, 1024):
                break
        then()
        time.sleep(timeout)
        said = f"still running {timeout:g} s after the request to stop: exiting now"
        print(said, file=sys.stderr, flush=True)
        os._exit(1)

    threading.Thread(target=watch, name="lifeline", daemon=True).start()


PARENT_POLL_INTERVAL = 1.0  # s between two checks that the parent still runs


def _continue_when_parent_ends() -> None:
    """Ask Linux to send SIGCONT when the parent ends. It does nothing to a process that runs."""
    if sys.platform != "linux":
        return
    parent_death_signal = 1  # PR_SET_PDEATHSIG, of <linux/prctl.h>
    ctypes.CDLL(None).prctl(parent_death_signal, signal.SIGCONT)


_lifelines: weakref.WeakSet[IO[bytes]] = weakref.WeakSet()


def keep_lifeline(lifeline: IO[bytes]) -> None:
    """Keep a lifeline for this process alone: a process that it forks closes its copy."""
    if not _lifelines:
        os.register_at_fork(after_in_child=_close_lifelines)
    _lifelines.add(lifeline)


def _close_lifelines() -> None:
    for lifeline in [*_lifelines]:
        # Close the raw file: another thread may have held the lock of its buffer at the fork.
        getattr(lifeline, "raw", lifeline).close()
    _lifelines.clear()
