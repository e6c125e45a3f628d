"""Run the servers until somebody asks to stop: this is `order-lifecycle up`."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from types import FrameType

from order_lifecycle.settings import Addresses, Settings
from order_lifecycle.stack import process
from order_lifecycle.stack.errors import StackError, StopRequestedError
from order_lifecycle.stack.postgres import Postgres
from order_lifecycle.stack.stack import Stack
from order_lifecycle.stack.temporal import Temporal

WATCH_INTERVAL = 0.2  # s between two looks at the servers


def up(
    home: Path | None,
    *,
    temporal_port: int | None = None,
    ui_port: int | None = None,
    ui_path: str | None = None,
    as_json: bool = False,
    lifeline: bool = False,
    settings: Settings | None = None,
) -> int:
    """Run a stack until Ctrl-C, SIGTERM or SIGHUP, and print its addresses to standard output.

    Everything else that it says goes to standard error. If the settings have all addresses, there
    is nothing to start: then it migrates, prints the addresses and returns. Call it in the main
    thread.

    `as_json` prints the addresses as one line of JSON. `lifeline` stops the stack at the end of
    standard input, too. The other arguments are those of `Stack`.

    Returns:
        The exit status: 1 if the stack cannot start or a server ended by itself, otherwise 0.
    """
    began = time.monotonic()
    process.skip_final_garbage_collection()
    with _stop_requests(lifeline) as stop_requests, _private_umask():
        stack = Stack(
            home,
            temporal_port=temporal_port,
            ui_port=ui_port,
            ui_path=ui_path,
            settings=settings,
            stop_requests=stop_requests,
            progress=_report,
        )
        try:
            with stack as addresses:
                # json.dumps escapes to ASCII, because the reader may expect another encoding.
                in_ascii = json.dumps(addresses.model_dump(mode="json"))
                print(in_ascii if as_json else _describe(addresses, stack), flush=True)
                if not stack.servers:
                    return 0
                _report(f"Ready after {time.monotonic() - began:.1f} s. Ctrl-C stops everything.")
                return _watch(stack, stop_requests)
        except StackError as error:
            _report(str(error))
            return 1
        except StopRequestedError as reason:
            _report(f"Stopped while starting: {reason}.")
            return 0


def _watch(stack: Stack, stop_requests: SimpleQueue[str]) -> int:
    """Report what happens to the stack until it has to stop. Return the exit status."""
    full = False
    while True:
        with suppress(Empty):
            _report(f"Stopping: {stop_requests.get(timeout=WATCH_INTERVAL)}.")
            return 0
        if not stack.home.exists():
            _report(
                f"The folder {stack.home.path} was removed or renamed while the stack ran, so the "
                "servers are stopped. `order-lifecycle up` makes a new, empty folder. If you "
                "renamed it, give its new name with --home."
            )
            return 1
        if stack.home.disk_is_full() != full:
            full = not full
            if full:
                _report(f"Attention: {stack.home.full_disk_message}.")
            else:
                _report("There is space on the disk again.")
        if dead := stack.dead_server():
            how = dead.describe_exit()
            _report(f"{dead.name} ended by itself, so the rest is stopped too: {how}")
            return 1


@contextmanager
def _private_umask() -> Iterator[None]:
    """Make new files readable and writable by their owner alone, independent of the umask."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


@contextmanager
def _stop_requests(lifeline: bool) -> Iterator[SimpleQueue[str]]:
    """Yield a queue that gets the reason when this process is asked to stop."""
    # Not a threading.Event: if the signal arrives while wait() holds the event's lock, a signal
    # handler that sets the event deadlocks.
    requests: SimpleQueue[str] = SimpleQueue()

    def on_signal(number: int, frame: FrameType | None) -> None:
        requests.put("Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name)

    before = {
        number: signal.getsignal(number)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:  # nohup ignores SIGHUP, and so do we then
            signal.signal(number, on_signal)
    if lifeline:
        process.when_input_ends(lambda: requests.put("standard input has ended"))
    try:
        yield requests
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _describe(addresses: Addresses, stack: Stack) -> str:
    """Return the addresses as a few lines for a person."""
    from order_lifecycle.db.url import without_secrets  # the migrations have loaded it already

    ours = {server.name for server in stack.servers}
    database = without_secrets(addresses.database_url)
    password = f"the password is in {addresses.home}/password"
    access = password if Postgres.name in ours else "from DATABASE_URL"
    kept = "removed at the end" if stack.ephemeral else "kept"
    return "\n".join(
        [
            f"Temporal    {addresses.temporal_host}"
            + ("" if Temporal.name in ours else "  (from TEMPORAL_HOST)"),
            f"Web UI      {addresses.ui_url or '(TEMPORAL_UI_URL is not set)'}",
            f"PostgreSQL  {database}  ({access})",
            f"Data        {addresses.home}  ({kept})",
        ]
    )


def _report(line: str) -> None:
    with suppress(OSError):  # nobody reads standard error any more; the servers must stop anyway
        print(line, file=sys.stderr, flush=True)
