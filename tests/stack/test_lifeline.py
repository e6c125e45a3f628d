"""No process outlives its kernel, not even a frozen one (SIGSTOP), nor because the kernel has forked others."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import psutil
import pytest

from tests.support.repeats import everyday
from tests.support.waiting import wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent is gone")

# A process, such as a kernel, that has started servers and a worker, and then forks in every way that Python has.
KERNEL = """
import multiprocessing, os, sys, time
from concurrent.futures import ProcessPoolExecutor
from order_lifecycle.settings import Settings
from order_lifecycle.stack.child_process import ChildProcess
from order_lifecycle.stack.child_servers import STACK, publish, read_addresses
from order_lifecycle.workers.start import wait_until_ready, worker_command

stack = ChildProcess("stack", [*STACK])
publish(read_addresses(stack), Settings())
worker = ChildProcess("order worker", worker_command("order"))
wait_until_ready(worker)
fork = multiprocessing.get_context("fork")
pool = fork.Pool(1)
executor = ProcessPoolExecutor(1, mp_context=fork)
executor.submit(os.getpid).result()
one = fork.Process(target=time.sleep, args=[300])
one.start()
if not (child := os.fork()):
    time.sleep(300)
forked = [pool.apply(os.getpid), executor.submit(os.getpid).result(), one.pid, child]
print(stack.pid, worker.pid, *forked, flush=True)
for line in sys.stdin:
    exec(line)
    print("done", flush=True)
"""


class Kernel:
    def __init__(self, folder: Path) -> None:
        with (folder / "kernel.log").open("wb") as log:
            self._popen = subprocess.Popen(
                [sys.executable, "-c", KERNEL],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=folder,
            )
        assert self._popen.stdout
        line = self._popen.stdout.readline()
        assert line, (folder / "kernel.log").read_text()
        supervisor, worker, *forked = map(int, line.split())
        self.supervisor, self.worker = psutil.Process(supervisor), psutil.Process(worker)
        self.forked = [psutil.Process(pid) for pid in forked]
        self.started = [self.worker, self.supervisor, *self.supervisor.children(recursive=True)]

    def named(self, name: str) -> list[psutil.Process]:
        return [process for process in self.started if process.name() == name]

    def run(self, line: str) -> None:
        assert self._popen.stdin
        assert self._popen.stdout
        print(line, file=self._popen.stdin, flush=True)
        assert self._popen.stdout.readline() == "done\n"

    def kill(self) -> None:
        self._popen.kill()
        self._popen.wait()

    def end(self) -> None:
        self.kill()
        for stream in (self._popen.stdin, self._popen.stdout):
            assert stream
            stream.close()
        for process in [*self.forked, *self.started]:  # what a test that fails would leave
            if process.is_running():
                process.kill()


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[Kernel]:
    it = Kernel(tmp_path)
    yield it
    it.end()


STOPPED: dict[str, Callable[[Kernel], list[psutil.Process]]] = {
    "nothing": lambda kernel: [],
    "the worker": lambda kernel: [kernel.worker],
    "the supervisor": lambda kernel: [kernel.supervisor],
    "PostgreSQL": lambda kernel: kernel.named("postgres"),
    "Temporal": lambda kernel: kernel.named("temporal"),
    "everything": lambda kernel: kernel.started,
}


@pytest.mark.parametrize("stopped", everyday("nothing", of=STOPPED))
def test_no_process_outlives_a_killed_kernel(kernel: Kernel, stopped: str) -> None:
    for process in STOPPED[stopped](kernel):
        process.send_signal(signal.SIGSTOP)
    assert all(process.is_running() for process in kernel.forked)
    kernel.kill()
    _, alive = psutil.wait_procs(kernel.started, timeout=40)
    assert alive == []
    assert all(process.is_running() for process in kernel.forked[2:])  # so it was not their end that did it


@pytest.mark.proof
@pytest.mark.parametrize("stopped", ["PostgreSQL", "everything"])
def test_frozen_servers_and_workers_end_when_asked_to(kernel: Kernel, stopped: str) -> None:
    for process in STOPPED[stopped](kernel):
        process.send_signal(signal.SIGSTOP)
    kernel.run("stack.stop(); worker.stop()")
    _, alive = psutil.wait_procs(kernel.started, timeout=10)
    assert alive == []


@pytest.mark.proof
def test_forked_processes_do_not_hold_the_lifeline(kernel: Kernel) -> None:
    """The servers also watch for the kernel's death, but the lifeline must work by itself."""
    inodes = {Path(f"/proc/{process.pid}/fd/0").readlink() for process in (kernel.worker, kernel.supervisor)}
    for process in kernel.forked:  # each may have only just begun
        held = partial(lambda process: open_files(process) & inodes, process)
        wait_until(held, lambda files: not files, what="a forked process that has no lifeline", timeout=20)


def open_files(process: psutil.Process) -> set[Path]:
    """Return the files that the process has open now, including pipes."""
    found = set()
    for file in Path(f"/proc/{process.pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            found.add(file.readlink())
    return found
