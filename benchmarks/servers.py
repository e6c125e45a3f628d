"""Start servers and workers for a benchmark, in processes of their own, and stop them after it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from order_lifecycle.faults import Faults
from order_lifecycle.lab.servers import Process
from order_lifecycle.lab.waiting import wait_here
from order_lifecycle.settings import Addresses, Settings
from order_lifecycle.stack.stack import Stack
from order_lifecycle.stack.temporal import DYNAMIC_CONFIG

AS_SHIPPED: Mapping[str, str] = {}  # the dev server without our settings


@dataclass
class Servers:
    """A running Temporal server and a running PostgreSQL."""

    addresses: Addresses

    @property
    def settings(self) -> Settings:
        """The settings that lead a client to these servers."""
        return Settings(temporal_host=self.addresses.temporal_host, database_url=self.addresses.database_url)

    @contextmanager
    def workers(self, of_each: int = 1, faults: Faults | None = None) -> Iterator[list[int]]:
        """Run so many order workers and as many shipping workers. Yield their process IDs."""
        faults = faults or Faults()
        told = [f"--faults-fail={faults.fail}", f"--faults-hang={faults.hang}", f"--faults-seed={faults.seed}"]
        names = [f"order_lifecycle.workers.{kind}_worker" for kind in ("order", "shipping")]
        with self._processes([[name, "--lifeline", *told] for name in names * of_each]) as pids:
            yield pids

    @contextmanager
    def bare_workers(self, of_each: int = 1) -> Iterator[list[int]]:
        """Run so many workers of each kind for bare orders. Yield their process IDs."""
        commands = [["benchmarks.bare_worker", kind] for kind in ("order", "shipping")]
        with self._processes(commands * of_each) as pids:
            yield pids

    @contextmanager
    def _processes(self, commands: list[list[str]]) -> Iterator[list[int]]:
        addresses = {"TEMPORAL_HOST": self.addresses.temporal_host, "DATABASE_URL": self.addresses.database_url}
        processes = [Process(command[0], command, addresses) for command in commands]
        try:
            for process in processes:
                wait_here(
                    lambda p=process: "polling" in p.tail(1000), f"{process.name} to poll", 60, process.last_words
                )
            yield [process.pid for process in processes]
        finally:
            for process in processes:
                process.stop()


@contextmanager
def start_servers(dynamic_config: Mapping[str, str] = DYNAMIC_CONFIG) -> Iterator[Servers]:
    """Run an empty Temporal server and an empty PostgreSQL. They keep no data."""
    with Stack(None, dynamic_config=dynamic_config, settings=Settings(_env_file=None)) as addresses:
        yield Servers(addresses)
