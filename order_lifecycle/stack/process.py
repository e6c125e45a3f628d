"""How every process of this project begins and ends: signals, the lifeline, and a clean exit."""

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

# A process that used a Temporal client can crash while Python shuts down (exit code 134 or 139,
# after all work is done: https://github.com/temporalio/sdk-python/issues/300). 0.1 s more of the
# event loop lets the SDK's own threads end first: 0 crashes in 50 runs, against about 1 in 10.
_LAST_MOMENT = 0.1


def run(main: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run`, for a process that uses a Temporal client: it ends without the crash described
    above.

    Inside a notebook's kernel, where a loop runs already (`%run -m order_lifecycle …`), the loop is
    patched by nest-asyncio2 so that it can be entered a second time.
    """

    async def with_a_last_moment() -> T:
        try:
            return await main
        finally:
            await asyncio.sleep(_LAST_MOMENT)

    end_without_collecting()
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(with_a_last_moment())
    import nest_asyncio2

    nest_asyncio2.apply()
    return asyncio.run(with_a_last_moment())


def end_without_collecting() -> None:
    """Let this process end without Python's last garbage collection, which is in vain: all that was
    imported is still in use. A command then needs a quarter less of the processor, and a
    notebook's kernel ends up to two and a half seconds sooner.
    """
    atexit.register(gc.freeze)


def stop_requests(lifeline: bool = False) -> asyncio.Event:
    """An event that is set when this process is asked to stop: by SIGTERM, by Ctrl-C or, with
    `lifeline`, by the end of its standard input. To be called in the main thread, in a running
    loop.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if lifeline:
        when_input_ends(lambda: loop.call_soon_threadsafe(stop.set))
    return stop


def when_input_ends(then: Callable[[], object], timeout: float = 10.0) -> None:
    """Call `then` when standard input ends or the process that started this one is gone.

    The input is a pipe that ends with the process at its other end. A process that this one has
    forked may still hold the pipe, so the parent itself is watched too. A process that was stopped
    (SIGSTOP) is continued when its parent is gone. Ends this process by force if it is still there
    `timeout` seconds later.
    """
    parent = os.getppid()
    _continue_when_the_parent_is_gone()

    def watch() -> None:
        # os.read, not sys.stdin: a daemon thread that holds the lock of sys.stdin stops the
        # interpreter from exiting.
        while os.getppid() == parent:
            if select.select([0], [], [], PARENT_EVERY)[0] and not os.read(0, 1024):
                break
        then()
        time.sleep(timeout)
        said = f"not stopped {timeout:g} s after the lifeline ended: exiting now"
        print(said, file=sys.stderr, flush=True)
        os._exit(1)

    threading.Thread(target=watch, name="lifeline", daemon=True).start()


PARENT_EVERY = 1.0  # s between two looks at whether the parent is still there


def _continue_when_the_parent_is_gone() -> None:
    """Ask Linux for SIGCONT at the parent's end, which does nothing to a process that runs."""
    if sys.platform != "linux":
        return
    parent_death_signal = 1  # PR_SET_PDEATHSIG, of <linux/prctl.h>
    ctypes.CDLL(None).prctl(parent_death_signal, signal.SIGCONT)


_lifelines: weakref.WeakSet[IO[bytes]] = weakref.WeakSet()


def hold(lifeline: IO[bytes]) -> None:
    """Keep a lifeline for this process alone: what it forks closes its copy."""
    if not _lifelines:
        os.register_at_fork(after_in_child=_let_go)
    _lifelines.add(lifeline)


def _let_go() -> None:
    for lifeline in [*_lifelines]:
        # The file below the buffer, whose lock another thread may have held at the fork.
        getattr(lifeline, "raw", lifeline).close()
    _lifelines.clear()
