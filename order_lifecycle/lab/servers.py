"""The processes of a notebook: a stack of its own, and workers that can be stopped and killed.

Each runs in a session of its own, so that an Interrupt of a cell does not reach it, and each reads
its standard input, which is a pipe that only this process holds open: however this process ends,
the pipe ends, and so do they.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from typing import IO, TYPE_CHECKING, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field, ValidationError

from order_lifecycle import isolated
from order_lifecycle.environment import forget_libpq
from order_lifecycle.faults import Faults
from order_lifecycle.jupyter import PORT, proxied_path
from order_lifecycle.lab.markup import show_frames_as_text
from order_lifecycle.lab.waiting import LabError, wait_here, wake_for_signals
from order_lifecycle.settings import OURS, Addresses, Settings
from order_lifecycle.stack.process import end_without_collecting, hold
from order_lifecycle.stack.server import Ports

if TYPE_CHECKING:
    from order_lifecycle.lab.second_server import SecondServer


class Process:
    """A real process that this one started."""

    _newest: ClassVar[dict[str, weakref.ref[Process]]] = {}  # by name

    def __init__(
        self, name: str, arguments: list[str], environment: dict[str, str] | None = None
    ) -> None:
        self.name = name
        self.environment = environment or {}  # what it was given beside ours
        self._newest[name] = weakref.ref(self)
        # Files, because a pipe that nobody reads is full one day, and whoever writes to it then
        # waits for ever. They live as long as the process.
        self._out = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115
        self._log = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115
        self._popen = subprocess.Popen(
            isolated.command(*arguments, options=("-X", "utf8", "-u")),
            stdin=subprocess.PIPE,
            stdout=self._out,
            stderr=self._log,
            start_new_session=True,
            env={**os.environ, **self.environment},
        )
        # Popen outlives its last reference for as long as the process runs, and would keep the
        # lifeline with it.
        assert self._popen.stdin is not None
        hold(self._popen.stdin)
        weakref.finalize(self, self._popen.stdin.close)

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def alive(self) -> bool:
        return self.status is None

    @property
    def status(self) -> int | None:
        """Its exit status, or None while it runs."""
        return self._popen.poll()

    @property
    def newest(self) -> bool:
        """Was no other of this name started after it?"""
        return self._newest[self.name]() is self

    def log(self) -> str:
        """What it wrote to its log."""
        return _text(self._log)

    def tail(self, lines: int = 10) -> str:
        """The last lines that it wrote."""
        return "\n".join(self.log().splitlines()[-lines:])

    def stop(self, timeout: float = 15.0) -> None:
        """Ask it to end (SIGTERM), and wait until it has. Raises LabError if it has not after
        `timeout` seconds."""
        self._popen.terminate()
        self._popen.send_signal(signal.SIGCONT)  # a process that was stopped hears nothing
        self._wait_for_end(timeout)

    def kill(self) -> None:
        """End it at once (SIGKILL), as a crash or a power cut would: it cannot clean up."""
        self._popen.kill()
        self._wait_for_end(5.0)

    def _wait_for_end(self, timeout: float) -> None:
        wait_here(lambda: not self.alive, f"the {self.name} to end", timeout)
        assert self._popen.stdin is not None
        self._popen.stdin.close()

    def last_words(self) -> str | None:
        """How it ended and what it last said, or None while it runs."""
        return (
            None
            if self.alive
            else f"it ended with exit status {self.status}, and last said:\n{self.tail()}"
        )

    def first_line(self, timeout: float) -> str:
        """Return the first line of its standard output. Raises LabError, with what it last said, if
        there is none after `timeout` seconds."""
        try:
            wait_here(
                lambda: _text(self._out).endswith("\n"),
                f"the {self.name} to be ready",
                timeout,
                self.last_words,
            )
        except LabError as error:
            if self.alive:
                raise LabError(f"{error}. It last said:\n{self.tail()}") from None
            raise
        return _text(self._out).partition("\n")[0]

    def __repr__(self) -> str:
        return f"<{self.name}: {'running' if self.alive else 'ended'}>"


def _text(file: IO[str]) -> str:
    """All that was written to it."""
    # pread, because the position in the file is shared with the process that writes to it.
    return os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0).decode(errors="replace")


# What `up` sets in the environment.
ADDRESSES = ("TEMPORAL_HOST", "DATABASE_URL", "DATABASE_OWNER_URL", "TEMPORAL_UI_URL", OURS)


class LabServers(Addresses):
    """Where this notebook's servers are."""

    model_config = ConfigDict(arbitrary_types_allowed=True)
    process: Process
    before: dict[str, str | None] = Field(repr=False)  # what the environment had for ADDRESSES
    given: bool  # the servers are somebody else's, named in the settings
    # Where the Jupyter server shows the Web UI, for a browser that sees that server only.
    ui_path: str | None = None

    @property
    def alive(self) -> bool:
        return self.given or self.process.alive

    def __repr__(self) -> str:
        return f"<servers: Temporal at {self.temporal_host}>"


_servers: LabServers | None = None


def up() -> LabServers:
    """Start a Temporal server and a PostgreSQL for this notebook alone, both empty, and wait until
    they are ready.

    With TEMPORAL_HOST and DATABASE_URL set, those servers are used, and nothing in them is cleared.
    A second call returns the servers that are already running. The addresses also go to the
    environment of this process, so that `!order-lifecycle …` in a cell finds them. Raises LabError.
    """
    global _servers
    wake_for_signals()
    show_frames_as_text()
    if _servers is not None and _servers.alive:
        return _servers
    end_without_collecting()
    if _servers is not None:  # it has ended, and its addresses with it
        for name, value in _servers.before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
    before = {name: os.environ.get(name) for name in ADDRESSES}
    given = Settings()
    path = None if given.temporal_host else proxied_path()
    through_proxy = [f"--ui-path={path}"] if path else []
    process = Process(
        "stack", ["order_lifecycle", "up", "--ephemeral", "--json", "--lifeline", *through_proxy]
    )
    addresses = _addresses(process)
    if not given.database_url:
        forget_libpq()
    _servers = LabServers(
        **addresses.model_dump(),
        process=process,
        before=before,
        given=bool(given.temporal_host and given.database_url),
        ui_path=path and path.replace(PORT, str(urlsplit(addresses.ui_url or "").port)),
    )
    if not given.temporal_host:
        is_ours(_servers.temporal_host)
    os.environ["TEMPORAL_HOST"] = _servers.temporal_host
    os.environ["DATABASE_URL"] = _servers.database_url
    if _servers.database_owner_url:  # for `alembic` in a cell; workers do not get it (see _begin)
        os.environ["DATABASE_OWNER_URL"] = _servers.database_owner_url
    if _servers.ui_url:
        os.environ["TEMPORAL_UI_URL"] = _servers.ui_url
    return _servers


def _addresses(process: Process) -> Addresses:
    line = process.first_line(timeout=60)
    try:
        return Addresses.model_validate_json(line)
    except ValidationError:
        process.kill()
        raise LabError(
            "the servers should say where they are, as one line of JSON, and the first line was "
            f"{line!r}. Does something in this Python print when it starts "
            "(sitecustomize.py, a .pth file)? The log of the servers ends with:\n"
            f"{process.tail()}"
        ) from None


@contextmanager
def separate_servers() -> Iterator[LabServers]:
    """Servers as `up` starts them for who has set nothing, whatever is set and whichever servers
    there is. Afterwards they are stopped, and everything is as it was."""
    global _servers
    before, environment = _servers, dict(os.environ)
    for name in environment:
        if name.lower() in Settings.model_fields:
            del os.environ[name]
    _servers = None
    try:
        with tempfile.TemporaryDirectory() as without_dotenv, chdir(without_dotenv):
            servers = up()
            try:
                yield servers
            finally:
                servers.process.stop()
    finally:
        _servers = before
        os.environ.clear()
        os.environ.update(environment)


def is_ours(temporal_host: str) -> None:
    """Let this process, and all that it starts from now on, know that this server is one of ours
    (see Settings.ours)."""
    os.environ[OURS] = f"{os.environ.get(OURS, '')} {temporal_host}".strip()


def running_servers() -> LabServers:
    """the servers of this notebook. Raises LabError if there is none."""
    if _servers is None:
        raise LabError("there are no servers yet: run the cell with lab.up() first")
    if not _servers.alive:
        raise LabError(
            "this notebook's servers have ended: choose Restart Kernel and Run All Cells"
        )
    return _servers


def start_worker(
    kind: Literal["order", "shipping"],
    faults: Faults | None = None,
    *,
    at: SecondServer | None = None,
    metrics: bool = False,
) -> Process:
    """Start a worker in a process of its own, and wait until it polls its task queue.

    `faults`: what the outside world does to its calls; without them, every call works. `at`: the
    Temporal that it works for, if not the notebook's own. `metrics`: serve them, on a free port,
    for `lab.metrics`. The worker ends when nothing refers to it any more, so give it a name. Raises
    LabError.
    """
    worker = _begin(kind, faults, at, metrics)
    wait_until_it_polls(worker)
    return worker


def start_workers(
    faults: Faults | None = None, *, at: SecondServer | None = None
) -> tuple[Process, Process]:
    """Start an order worker and a shipping worker side by side, which takes half as long as one
    after the other. Otherwise as `start_worker`."""
    workers = _begin("order", faults, at), _begin("shipping", faults, at)
    for worker in workers:
        wait_until_it_polls(worker)
    return workers


def _begin(
    kind: str, faults: Faults | None, at: SecondServer | None, metrics: bool = False
) -> Process:
    running_servers()
    faults = faults or Faults()
    told = [
        f"--faults-fail={faults.fail}",
        f"--faults-hang={faults.hang}",
        f"--faults-seed={faults.seed}",
    ]
    told.append(f"--always-fail={','.join(sorted(faults.always_fail))}")
    # JSON, so that lab.attempts can read the log. A worker is the application: it owns no tables.
    environment = {"LOG_JSON": "true", "DATABASE_OWNER_URL": ""}
    if at is not None:
        environment["TEMPORAL_HOST"] = at.temporal_host
    if metrics:
        environment["METRICS_ADDRESS"] = f"127.0.0.1:{Ports().choose()}"
    return Process(
        f"{kind} worker",
        [f"order_lifecycle.workers.{kind}_worker", "--lifeline", *told],
        environment,
    )


def wait_until_it_polls(worker: Process) -> None:
    """Raises LabError if it ends instead, or does not within 30 s."""
    wait_here(
        lambda: "polling" in worker.tail(1000),
        f"the {worker.name} to poll its queue",
        30,
        worker.last_words,
    )


async def doctor() -> str:
    """What is here, what is missing, and what to do about it: as `order-lifecycle doctor` says."""
    from order_lifecycle.cli.doctor import examine  # takes its time

    return "\n".join(map(str, await examine()))
