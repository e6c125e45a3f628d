"""A server as a child process: start it, wait until it is ready, see that it died, stop it. And the
ports for it."""

from __future__ import annotations

import errno
import functools
import importlib.metadata
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from order_lifecycle.stack.home import Home

# Ten times what a slow machine needs; PostgreSQL may have to recover from a crash first.
READY_TIMEOUT = 60.0  # s
STOP_TIMEOUT = 6.0  # s; less than what process.when_input_ends allows for the whole
POLL_INTERVAL = 0.02  # s
# How long an error may last that waiting does not mend, such as a password that is refused: while a
# server starts it may give an answer that it takes back.
PERMANENT_AFTER = 3.0  # s
# What connecting to a server gives while it starts.
TRANSIENT_ERRORS = (
    errno.ECONNREFUSED,
    errno.ECONNRESET,
    errno.EPIPE,
    errno.ETIMEDOUT,
    errno.EAGAIN,
)


class StackError(Exception):
    """The stack cannot do what was asked. The text is for the person who asked: what is wrong, and
    the way out."""


class StopRequestedError(Exception):
    """The stack was asked to stop while it was starting."""


class Ports:
    """Free ports of the loopback interface, none of them handed out twice."""

    def __init__(self) -> None:
        """Raises StackError if this machine has no working loopback interface."""
        self._taken: set[int] = set()
        _check_loopback()

    def choose(self, wanted: int | None = None, first: int | None = None, option: str = "") -> int:
        """The port that somebody `wanted`, or else the first free one from `first` on, or else any.

        Raises StackError if the wanted one is in use; it names `option` as the way out.
        """
        if wanted is not None and not _is_free(wanted):
            raise StackError(
                f"Port {wanted} is in use. "
                f"Choose another with {option} PORT, or leave {option} out: "
                "then the next free one is taken."
            )
        candidates = range(first, first + 100) if first else ()
        free = (port for port in candidates if port not in self._taken and _is_free(port))
        port = wanted or next(free, None)
        while port is None or (port in self._taken and port != wanted):
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = int(probe.getsockname()[1])
        self._taken.add(port)
        return port


def _check_loopback() -> None:
    with socket.socket() as listener, socket.socket() as caller:
        try:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            caller.settimeout(READY_TIMEOUT)
            caller.connect(listener.getsockname())
        except OSError as error:
            raise StackError(
                f"This machine cannot connect to itself at 127.0.0.1: {error.strerror or error}. "
                "All servers listen there. Bring up the loopback interface "
                "(as root: `ip link set lo up`), then try again."
            ) from error


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As servers do: a port that was just left is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except PermissionError as error:
            raise StackError(f"Port {port} is for root only: choose one above 1023.") from error
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return False
    return True


# What PostgreSQL and Temporal's SQLite say of a full disk, or of a quota that is used up.
_FULL_DISK = re.compile(
    "No space left on device|Check free disk space|database or disk is full|Disk quota exceeded"
)
# What a server gets of our environment.
_INHERITED_VARIABLES = ("PATH", "TMPDIR", "LD_LIBRARY_PATH")
# What every server gets, whatever our environment says. Temporal ends at once if it finds neither
# the user in /etc/passwd nor USER and HOME. HOME is a folder without configuration files.
_FIXED_VARIABLES = {"LC_ALL": "C", "TZ": "UTC", "USER": "order-lifecycle"}
# The names of users, for a user ID that has none (see user.py).
_NSS_WRAPPER_VARIABLES = ("NSS_WRAPPER_PASSWD", "NSS_WRAPPER_GROUP", "LD_PRELOAD")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class Server(ABC):
    """A server of the stack. It runs in the supervisor's session, but in a process group of its
    own: a terminal's Ctrl-C reaches the supervisor alone, which then stops its servers in good
    order.

    Start it in a thread that lives as long as the stack: Linux sends the signal that ends an orphan
    when the *thread* that started it is gone.
    """

    name: str

    def __init__(self, home: Home, log: str, stop_signal: signal.Signals) -> None:
        """`log`: the file in `home` that gets its output. `stop_signal`: asks it to end; the kernel
        sends it when we are gone."""
        self.home = home
        self.log = home.path / log
        self.stop_signal = stop_signal
        # What the last look at it found, and whether waiting can mend that.
        self.not_ready_reason = "it has just been started"
        self.transient = True
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def start(self) -> None:
        """Choose the ports and start the server, without waiting for it."""

    @abstractmethod
    def ready(self) -> bool:
        """Return whether it answers now. If it does not, call `seen` with the reason."""

    def not_ready(self, what: str, transient: bool = True) -> bool:
        """Remember why the server is not ready, and return False. `transient`: waiting may help."""
        self.not_ready_reason, self.transient = what, transient
        return False

    def wait_until_ready(self, pause: Callable[[], object]) -> None:
        """Call `pause` until the server is ready.

        Somebody else may take a port between our choice and the server's start: then it is started
        again, with other ports. Raises StackError, with what was seen last and the end of the log:
        if the server ends, if an error lasts for PERMANENT_AFTER seconds that waiting does not
        mend, or if the server is not ready after READY_TIMEOUT seconds.
        """
        deadline = time.monotonic() + READY_TIMEOUT
        fail_at = deadline
        starts = 1
        while not (self.ready() and self.alive()):
            now = time.monotonic()
            if not self.transient or self.hit_full_disk():
                fail_at = min(fail_at, now + PERMANENT_AFTER)
            else:
                fail_at = deadline
            if not self.alive():
                # All of the log: Temporal says this first, and then prints a long stack trace.
                if starts == 5 or b"address already in use" not in self.log.read_bytes().lower():
                    raise StackError(
                        f"{self.name} ended while it was starting: {self.describe_exit()}"
                    )
                starts += 1
                self.start()
            elif now > fail_at:
                waited = f" after {READY_TIMEOUT:g} s" if fail_at == deadline else ""
                if self.hit_full_disk():
                    full_disk = self.home.full_disk_message
                    raise StackError(f"{self.name} is not ready{waited}: {full_disk}.")
                raise StackError(
                    f"{self.name} runs and is not ready{waited}: {self.not_ready_reason}. "
                    f"The end of its log:\n{self.tail()}"
                )
            pause()

    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def describe_exit(self) -> str:
        """In words, with the end of its log."""
        status = self._process.returncode if self._process else 0
        how = (
            f"exit status {status}" if status >= 0 else f"killed by {signal.Signals(-status).name}"
        )
        if self.hit_full_disk():
            return f"{how}; {self.home.full_disk_message}. Then start again."
        return f"{how}; the end of its log:\n{self.tail()}"

    def hit_full_disk(self) -> bool:
        """Return whether the disk is full, or was when the server last complained."""
        return _FULL_DISK.search(self.tail()) is not None or self.home.disk_is_full()

    def tail(self, lines: int = 15) -> str:
        """The end of its log."""
        try:
            with open(self.log, "rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - 8192))
                end = _COLOUR.sub("", log.read().decode(errors="replace")).splitlines()[-lines:]
        except FileNotFoundError:
            return f"({self.log} is gone)"
        return "\n".join(end) or "(it is empty)"

    def _launch(
        self,
        command: Sequence[str],
        cwd: Path,
        extra_environment: Mapping[str, str] = MappingProxyType({}),
        inherited_files: Sequence[int] = (),
    ) -> subprocess.Popen[bytes]:
        """`more`: what its environment has beside the ordinary. `inherited`: descriptors of ours
        that it keeps open."""
        # Only what a server needs: the rest (PGOPTIONS, TEMPORAL_…, a locale) would change how it
        # works.
        names: tuple[str, ...] = _INHERITED_VARIABLES
        if _NSS_WRAPPER_VARIABLES[0] in os.environ:
            names += _NSS_WRAPPER_VARIABLES
        environment = {name: os.environ[name] for name in names if name in os.environ}
        environment |= {**_FIXED_VARIABLES, "HOME": str(self.home.path), **extra_environment}
        try:
            with open(self.log, "wb") as log:
                self._process = subprocess.Popen(
                    command,
                    cwd=cwd,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    process_group=0,
                    umask=0o077,
                    pass_fds=[self.home.servers_lock, *inherited_files],
                )
        except OSError as error:
            raise StackError(
                f"{self.name} does not start: {command[0]}: {error.strerror}."
            ) from error
        return self._process

    def ask_to_stop(self) -> None:
        """Send its stop signal, and continue what was stopped (SIGSTOP) and would not hear it."""
        if self._process is not None:
            self._process.send_signal(self.stop_signal)
            for process in self._process_tree():
                with suppress(psutil.Error):
                    process.send_signal(signal.SIGCONT)

    def _process_tree(self) -> list[psutil.Process]:
        """Its process and all below it, each of which may have a process group of its own."""
        if self._process is None:
            return []
        try:
            process = psutil.Process(self._process.pid)
            return [process, *process.children(recursive=True)]
        except psutil.Error:
            return []  # it has ended

    def stop_by(self, deadline: float) -> None:
        """Wait for its end until `deadline` (time.monotonic), then end it by force."""
        if self._process is None:
            return
        try:
            self._process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            for process in self._process_tree():
                with suppress(psutil.Error):
                    process.kill()
            self._process.wait()


def stop(servers: Sequence[Server]) -> None:
    """Stop all of them, side by side."""
    deadline = time.monotonic() + STOP_TIMEOUT
    for server in servers:
        server.ask_to_stop()
    for server in servers:
        server.stop_by(deadline)


@functools.cache
def setpriv(*options: str) -> list[str]:
    """The start of a command that runs the rest of it with these options of `setpriv`; empty where
    there is no setpriv that can do it (macOS, or a small or locked-down Linux)."""
    program = shutil.which("setpriv") if sys.platform == "linux" else None
    if (
        program is None
        or subprocess.run([program, *options, "true"], capture_output=True, cwd="/").returncode != 0
    ):
        return []
    return [program, *options]


def die_with_parent(number: signal.Signals) -> tuple[str, ...]:
    """The options of `setpriv` that make the kernel send that signal to a child when its parent is
    gone, kill -9 included."""
    return "--pdeathsig", number.name.removeprefix("SIG")


def file_of_wheel(wheel: str, path: str) -> Path:
    """Where pip has put that file of a wheel. Raises StackError if the wheel is not installed."""
    try:
        files = importlib.metadata.files(wheel) or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if str(file).endswith(path):
            return Path(str(file.locate())).resolve()
    raise StackError(
        f"The package {wheel} is not installed for {sys.executable}: pip install {wheel}"
    )
