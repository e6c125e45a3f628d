"""Start servers and workers for a benchmark, in processes of their own, and stop them after it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import make_url

from order_lifecycle.faults import Faults
from order_lifecycle.settings import Addresses, Settings
from order_lifecycle.stack.child_process import ChildProcess
from order_lifecycle.stack.role_names import PASSWORD_FILES, SUPERUSER
from order_lifecycle.stack.stack import Stack
from order_lifecycle.stack.temporal import DYNAMIC_CONFIG
from order_lifecycle.workers.start import wait_until_ready, worker_command

AS_SHIPPED: Mapping[str, str] = {}  # the dev server without our settings


@dataclass
class Servers:
    """A running Temporal server and a running PostgreSQL."""

    addresses: Addresses

    @property
    def settings(self) -> Settings:
        """The settings that lead a client to these servers."""
        return Settings(temporal_host=self.addresses.temporal_host, database_url=self.addresses.database_url)

    @property
    def superuser_url(self) -> str:
        """The database for the superuser, who may change the server's settings."""
        password = Path(self.addresses.home, PASSWORD_FILES[SUPERUSER]).read_text()
        url = make_url(self.addresses.database_url).set(username=SUPERUSER, password=password)
        return url.render_as_string(hide_password=False)

    @contextmanager
    def workers(self, of_each: int = 1, faults: Faults | None = None) -> Iterator[list[int]]:
        """Run so many order workers and as many shipping workers. Yield their process IDs."""
        commands = [worker_command(kind, faults or Faults()) for kind in ("order", "shipping")]
        with self._processes(commands * of_each) as pids:
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
        processes = [ChildProcess(command[0], command, addresses) for command in commands]
        try:
            for process in processes:
                wait_until_ready(process, timeout=60)
            yield [process.pid for process in processes]
        finally:
            for process in processes:
                process.stop()


@contextmanager
def start_servers(dynamic_config: Mapping[str, str] = DYNAMIC_CONFIG) -> Iterator[Servers]:
    """Run an empty Temporal server and an empty PostgreSQL. They keep no data."""
    with Stack(None, dynamic_config=dynamic_config, settings=Settings(_env_file=None)) as addresses:
        yield Servers(addresses)
