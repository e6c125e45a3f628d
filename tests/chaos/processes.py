"""The servers and workers of a chaos run: processes that the run can stop, kill and start again."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

from order_lifecycle.faults import Faults
from order_lifecycle.stack.child_process import ChildProcess
from order_lifecycle.stack.home import Home
from order_lifecycle.stack.migrate import migrate
from order_lifecycle.stack.postgres import Postgres
from order_lifecycle.stack.server import Ports, Server, stop
from order_lifecycle.stack.temporal import Temporal
from order_lifecycle.waiting import POLL_INTERVAL
from order_lifecycle.workers.start import worker_command

ENDINGS = {
    "SIGKILL": signal.SIGKILL,
    "SIGTERM": signal.SIGTERM,
    "fast": signal.SIGINT,  # PostgreSQL's names for its own
    "immediate": signal.SIGQUIT,
}


class SamePorts(Ports):
    """Give a restarted server the ports that it had, because its clients know no others.

    The ports lie below those that the system gives to outgoing connections. Otherwise a client that connects to a
    stopped server would sometimes take the server's port, or even connect to itself.
    """

    def __init__(self) -> None:
        super().__init__()
        self._chosen: dict[tuple[int | None, str], int] = {}

    def choose(self, wanted: int | None = None, first: int | None = None, option: str = "") -> int:
        asked = first, option
        if asked not in self._chosen:
            self._chosen[asked] = super().choose(first=20_000 + os.getpid() % 100 * 100)
        return self._chosen[asked]


class Servers:
    """PostgreSQL and Temporal on files in `folder`, while this context lasts."""

    def __init__(self, folder: Path) -> None:
        self._home = Home(folder)
        ports = SamePorts()
        self._servers: dict[str, Server] = {
            "PostgreSQL": Postgres(self._home, ports),
            "Temporal": Temporal(self._home, ports, None, None),
        }
        self._locks = {name: asyncio.Lock() for name in self._servers}
        # Linux ends a server when the *thread* that started it is gone, so each has a thread for all of its life.
        self._threads = {name: ThreadPoolExecutor(1, thread_name_prefix=name) for name in self._servers}

    async def __aenter__(self) -> Servers:
        try:
            await asyncio.gather(*(self._start(name) for name in self._servers))
            await self._in_thread_of("PostgreSQL", lambda: migrate(self.database_url, self._postgres.owner_url))
        except BaseException:  # Ctrl-C too
            self._end_all()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end_all()

    def _end_all(self) -> None:
        for thread in self._threads.values():  # what has begun, ends
            thread.shutdown()
        stop(list(self._servers.values()))
        self._home.close()

    @property
    def database_url(self) -> str:
        return self._postgres.database_url

    @property
    def _postgres(self) -> Postgres:
        postgres = self._servers["PostgreSQL"]
        assert isinstance(postgres, Postgres)
        return postgres

    @property
    def temporal_host(self) -> str:
        temporal = self._servers["Temporal"]
        assert isinstance(temporal, Temporal)
        return f"127.0.0.1:{temporal.port}"

    async def restart(self, name: str, how: str, down: float) -> float:
        """Stop a server, start it on its own files `down` seconds later, and return how long it did not answer."""
        async with self._locks[name]:
            began = time.monotonic()
            await self._in_thread_of(name, lambda: self._end(name, ENDINGS[how]))
            await asyncio.sleep(down)
            await self._start(name)
            return time.monotonic() - began

    async def _start(self, name: str) -> None:
        server = self._servers[name]
        await self._in_thread_of(name, server.start)
        await self._in_thread_of(name, lambda: server.wait_until_ready(lambda: time.sleep(POLL_INTERVAL)))

    def _end(self, name: str, how: signal.Signals) -> None:
        server = self._servers[name]
        usual, server.stop_signal = server.stop_signal, how
        stop([server])
        server.stop_signal = usual

    async def _in_thread_of(self, name: str, call: Callable[[], object]) -> None:
        await asyncio.get_running_loop().run_in_executor(self._threads[name], call)


def start_worker(kind: str, servers: dict[str, str], *, faults_seed: int | None = None) -> ChildProcess:
    """Start a worker of that kind in its own process, without waiting for it.

    With a seed, a third of its calls to the outside world fail and a third hang.
    """
    faults = None if faults_seed is None else Faults(fail=0.3333, hang=0.3333, seed=faults_seed)
    return ChildProcess(f"{kind} worker", worker_command(kind, faults), servers)


class Workers:
    """So many workers of each kind. A worker that ends is replaced."""

    def __init__(self, servers: Servers, each: int, faults_seed: int) -> None:
        self._environment = {"TEMPORAL_HOST": servers.temporal_host, "DATABASE_URL": servers.database_url}
        self._faults_seed = faults_seed
        self._running = {(kind, number): self._start(kind) for kind in ("order", "shipping") for number in range(each)}
        self.ended_by_themselves: list[str] = []

    def kill(self, kind: str, number: int) -> int:
        """Kill that worker, start another in its place, and return the process ID that it had."""
        self.look()
        old = self._running[kind, number]
        old.kill()
        self._running[kind, number] = self._start(kind)
        return old.pid

    def look(self) -> None:
        """Note workers that ended by themselves, and replace them."""
        for (kind, number), worker in self._running.items():
            if not worker.alive:
                self.ended_by_themselves.append(f"a {worker.name} ended by itself: {worker.describe_exit()}")
                self._running[kind, number] = self._start(kind)

    def stop(self) -> None:
        """Stop all workers normally."""
        for worker in self._running.values():
            worker.stop()

    def _start(self, kind: str) -> ChildProcess:
        return start_worker(kind, self._environment, faults_seed=self._faults_seed)
