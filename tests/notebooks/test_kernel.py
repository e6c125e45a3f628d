"""A notebook in a real kernel, used as a person uses it. nbval cannot test this."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
import pytest

from tests.notebooks.kernel import Kernel, all_gone, kernel, lasting, names
from tests.notebooks.rules import NOTEBOOKS
from tests.support.repeats import everyday

BEGIN = """
from order_lifecycle import lab
servers = lab.up()
worker = lab.start_worker("order")
"""


@contextmanager
def kernel_with_servers() -> Iterator[Kernel]:
    with kernel() as it:
        it.right(BEGIN)
        assert "order_lifecycle up" in names(it.started())
        assert "order_worker" in names(it.started())
        assert {"temporal", "postgres"} <= {process.name() for process in it.started()}
        yield it


@pytest.fixture(scope="module")
def begun() -> Iterator[Kernel]:
    """Start one kernel with servers and a worker, for all tests that do not need a new one."""
    with kernel_with_servers() as it:
        yield it


@pytest.mark.parametrize("number", everyday("09", of=["09", "03", "08", "11"]))
def test_run_all_reaches_the_last_cell(number: str) -> None:
    """A %run patches the event loop, and a later cell could then hang for ever.

    Notebooks 03 and 11 await much after a %run. 08 starts a worker, and its checks have their own loop. In 09 workers
    run in the kernel itself.
    """
    cells = nbformat.read(next(path for path in NOTEBOOKS if path.name.startswith(number)), as_version=4).cells
    sources = [cell.source for cell in cells if cell.cell_type == "code"]
    assert number == "09" or any(source.startswith("%run -m order_lifecycle ") for source in sources[:-1])
    with kernel() as it:
        replies = it.replies([it.send(source) for source in sources], timeout=150)
    assert [reply["status"] for reply in replies] == ["ok"] * len(sources)


def test_a_worker_without_a_variable_is_stopped(begun: Kernel) -> None:
    """So if you run the cell that starts it again, one worker runs, not two."""
    (first,) = (process for process in begun.started() if "order_worker" in names([process]))
    begun.right("worker = lab.start_worker('order')")
    assert all_gone([first])
    assert sum("order_worker" in names([process]) for process in begun.started()) == 1


def test_an_error_of_the_lab_shows_its_message_and_no_traceback(begun: Kernel) -> None:
    (reply,) = begun.replies([begun.send("lab.table('order')", stop_on_error=False)])
    assert reply["traceback"] == ["LabError: there is no table 'order': choose one of orders, payments, events"]


THE_TEA = """
import time
began = time.monotonic()
await lab.wait_until(lambda: time.monotonic() - began > 2.5, "the tea")
"""
ONE_LONG_LOOK = """
import asyncio
await lab.wait_until(lambda: asyncio.sleep(2.5, True), "the tea")
"""
A_LONG_CHECK = """
import asyncio
from order_lifecycle.lessons.small_orders import WithoutSmallReviews
async def my_test(workflow):
    await asyncio.sleep(2.5 if workflow is WithoutSmallReviews else 0)
lab.check_test(my_test)
"""


@pytest.mark.parametrize(
    ("cell", "what"),
    [(THE_TEA, "the tea"), (ONE_LONG_LOOK, "the tea"), (A_LONG_CHECK, "my_test(WithoutSmallReviews)")],
    ids=["wait_until", "wait_until, one look", "check_test"],
)
def test_a_wait_of_more_than_a_second_shows_what_it_waits_for(begun: Kernel, cell: str, what: str) -> None:
    *progress, _answer = begun.shown(begun.send(cell))
    assert progress == [f"waiting for {what} … 1 s", f"waiting for {what} … 2 s", ""]


THREE_CUPS = """
import time
for number in range(3):
    began = time.monotonic()
    await lab.wait_until(lambda: time.monotonic() - began > 0.8, f"cup {number}")
"""


def test_several_short_waits_show_progress_in_one_place(begun: Kernel) -> None:
    """They share one place in the output. With one place each, each would leave an empty line."""
    assert begun.shown(begun.send(THREE_CUPS)) == ["waiting for cup 1 … 0 s", "", "waiting for cup 2 … 0 s", ""]


WAITING = "await lab.wait_until(lambda: False, 'what never comes', timeout=60)"
A_CHECK_THAT_WAITS = """
import asyncio
async def never(workflow):
    await asyncio.sleep(60)
lab.check_test(never)
"""


@pytest.mark.parametrize(
    "waiting",
    [
        WAITING,
        "import asyncio; await asyncio.sleep(60)",
        "import time; time.sleep(60)",
        A_CHECK_THAT_WAITS,
    ],
    ids=["wait_until", "await", "blocked", "a check"],
)
@pytest.mark.parametrize(
    "before",
    ["", "import nest_asyncio2; nest_asyncio2.apply()"],
    ids=["an ordinary loop", "a loop that %run has patched"],
)
def test_an_interrupt_ends_only_the_cell(begun: Kernel, before: str, waiting: str) -> None:
    started = list(lasting(begun.started()))
    assert {"temporal", "postgres"} <= {process.name() for process in started}
    begun.right(f"{before}\nimport threading\nthreads = set(threading.enumerate())")
    request = begun.send_and_see(waiting)
    begun.manager.interrupt_kernel()
    reply = begun.replies([request], timeout=5)[0]
    assert (reply["status"], reply["ename"]) in [("error", "KeyboardInterrupt"), ("error", "CancelledError")]
    assert all(process.is_running() for process in started)
    begun.right("assert set(threading.enumerate()) <= threads")
    begun.right("assert worker.alive and servers.alive and len(lab.table('orders')) == 0")
    begun.right("print(await lab.doctor())")


# --- these end the kernel --------------------------------------------------------------------------------------------


GARBAGE = """
import gc, pathlib
class Cycle:
    def __init__(self):
        self.itself = self
    def __del__(self, write=pathlib.Path({path!r}).write_text):
        write("collected")
gc.disable()
Cycle()
"""


def test_a_kernel_that_is_shut_down_while_it_runs_leaves_nothing(begun: Kernel, tmp_path: Path) -> None:
    """The kernel does not wait for a last garbage collection.

    On a slow machine that takes longer than Jupyter waits before it kills the kernel. This is the last test that uses
    `begun`.
    """
    started = begun.started()
    begun.right(GARBAGE.format(path=str(tmp_path / "collected")))
    begun.send_and_see(WAITING)
    begun.manager.shutdown_kernel(now=False)
    assert all_gone(started), [process for process in started if process.is_running()]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.proof
def test_a_restarted_kernel_has_empty_servers_and_a_killed_one_leaves_nothing() -> None:
    with kernel_with_servers() as it:
        before = it.started()
        it.send_and_see(WAITING)
        it.manager.restart_kernel(now=False)
        assert all_gone(before), [process for process in before if process.is_running()]

        it.client.wait_for_ready(timeout=30)
        it.right(BEGIN)
        it.right("assert len(lab.table('events')) == 0")

        after = it.started()
        it.send_and_see(WAITING)
        it.process.send_signal(signal.SIGKILL)
        assert all_gone(after), [process for process in after if process.is_running()]
