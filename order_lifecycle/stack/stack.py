"""Start Temporal and PostgreSQL together, and stop them together."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from types import TracebackType

from order_lifecycle.environment import unset_libpq_variables
from order_lifecycle.settings import Addresses, Settings
from order_lifecycle.stack.errors import StackError, StopRequestedError
from order_lifecycle.stack.home import Home
from order_lifecycle.stack.postgres import Postgres
from order_lifecycle.stack.server import Ports, Server, stop
from order_lifecycle.stack.temporal import DYNAMIC_CONFIG, Temporal
from order_lifecycle.waiting import POLL_INTERVAL

PROGRESS_INTERVAL = 5.0  # s between two lines about a server that is not ready


class Stack:
    """A context in which Temporal and PostgreSQL run and the database is migrated.

    A server whose address is in the settings is not started. Enter the context in a thread that
    lives as long as the stack (see Server). If entering it fails, nothing is left running.

    Raises:
        StackError: If a server cannot start or the database cannot be migrated.
        StopRequestedError: If a line arrives in `stop_requests` while the servers start.
    """

    def __init__(
        self,
        home: Path | None,
        *,
        temporal_port: int | None = None,
        ui_port: int | None = None,
        ui_path: str | None = None,
        dynamic_config: Mapping[str, str] = DYNAMIC_CONFIG,
        settings: Settings | None = None,
        stop_requests: SimpleQueue[str] | None = None,
        progress: Callable[[str], object] = lambda line: None,
    ) -> None:
        """Prepare a stack without starting it.

        Args:
            home: Where the data is kept. None keeps it in a temporary folder, removed at the end.
            temporal_port: Temporal's port. None takes a free one.
            ui_port: The Web UI's port. None takes a free one.
            ui_path: The URL path under which a proxy shows the Web UI, with {port} for its port.
            dynamic_config: Temporal's dynamic configuration.
            settings: Where the servers are that are not ours. None reads the environment.
            stop_requests: A line in it stops the start.
            progress: Gets one line about each slow step and about the migration.
        """
        self.ephemeral = home is None
        self._home = home
        self._temporal = temporal_port, ui_port, ui_path
        self._dynamic_config = dynamic_config
        self._settings = settings or Settings()
        self._stop_requests = stop_requests or SimpleQueue()
        self._progress = progress
        self._cleanup = ExitStack()
        self.servers: list[Server] = []

    def __enter__(self) -> Addresses:
        """Start the servers, migrate, and return the addresses."""
        with ExitStack() as cleanup:
            try:
                addresses = self._start(cleanup)
            except OSError as error:
                raise StackError(
                    f"The stack cannot start in {self._home or tempfile.gettempdir()}: {error}. "
                    "Is there space on the disk, and may this user write there?"
                ) from error
            self._cleanup = cleanup.pop_all()
        return addresses

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._cleanup.close()

    def dead_server(self) -> Server | None:
        """Return a server that has ended by itself, or None."""
        return next((server for server in self.servers if not server.alive()), None)

    def _start(self, cleanup: ExitStack) -> Addresses:
        settings = self._settings
        self.home = home = Home(self._home)
        cleanup.callback(home.close)
        ports = Ports()
        temporal = Temporal(home, ports, *self._temporal, self._dynamic_config)
        postgres = Postgres(home, ports)
        cleanup.callback(stop, self.servers)
        if not settings.temporal_host:
            self.servers.append(temporal)
        if not settings.database_url:
            self.servers.append(postgres)
            unset_libpq_variables()
        if self.servers:
            self._progress(f"Starting {' and '.join(server.name for server in self.servers)} …")
        for server in self.servers:
            server.start()

        # Imported here because it is slow, and the servers start in the meantime.
        from order_lifecycle.stack.migrate import migrate

        if postgres in self.servers:
            self._wait_for(postgres)
        if settings.database_url:
            database_url = settings.database_url.get_secret_value()
            owner_url = (settings.database_owner_url or settings.database_url).get_secret_value()
        else:
            database_url, owner_url = postgres.database_url, postgres.owner_url
        self._progress(f"Database: {migrate(database_url, owner_url)}.")
        if temporal in self.servers:
            self._wait_for(temporal)
        ui_url = (
            settings.temporal_ui_url
            if settings.temporal_host
            else f"http://127.0.0.1:{temporal.ui_port}"
        )
        addresses = Addresses(
            temporal_host=settings.temporal_host or f"127.0.0.1:{temporal.port}",
            temporal_is_ours=not settings.temporal_host,
            ui_url=ui_url,
            database_url=database_url,
            database_owner_url=owner_url,
            home=str(home.path),
        )
        home.publish(addresses)
        return addresses

    def _wait_for(self, server: Server) -> None:
        """Wait until the server is ready, and report every PROGRESS_INTERVAL why it is not."""
        began = reported = time.monotonic()

        def pause() -> None:
            nonlocal reported
            self._pause()
            now = time.monotonic()
            if now - reported > PROGRESS_INTERVAL:
                reported = now
                self._progress(
                    f"{server.name} is not ready after {now - began:.0f} s: "
                    f"{server.not_ready_reason} …"
                )

        server.wait_until_ready(pause)

    def _pause(self) -> None:
        with suppress(Empty):
            raise StopRequestedError(self._stop_requests.get(timeout=POLL_INTERVAL))
