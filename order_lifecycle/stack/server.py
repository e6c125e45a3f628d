"""Start a server as a child process on a free port, wait until it is ready, and stop it."""

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

import psutil

from order_lifecycle.stack.errors import StackError
from order_lifecycle.stack.home import Home

# Ten times what a slow machine needs, because PostgreSQL may have to recover from a crash first.
READY_TIMEOUT = 60.0  # s
STOP_TIMEOUT = 6.0  # s; shorter than the time that process.when_input_ends allows for everything
# How long an error that waiting should not change, such as a refused password, may last until we
# give up. A server that is starting may give such an error once and then accept us.
PERMANENT_AFTER = 3.0  # s
# The errors of a connection to a server that is still starting.
TRANSIENT_ERRORS = (
    errno.ECONNREFUSED,
    errno.ECONNRESET,
    errno.EPIPE,
    errno.ETIMEDOUT,
    errno.EAGAIN,
)


class Ports:
    """Chooses free ports of the loopback interface, each only once."""

    def __init__(self) -> None:
        """Check that this machine can connect to itself.

        Raises:
            StackError: If the loopback interface does not work.
        """
        self._taken: set[int] = set()
        _check_loopback()

    def choose(self, wanted: int | None = None, first: int | None = None, option: str = "") -> int:
        """Return a free port.

        Args:
            wanted: This port and no other.
            first: Without `wanted`, the first free port of the hundred that begin here, or else any
                free port.
            option: The command's option for this port, which an error message names.

        Raises:
            StackError: If the wanted port is in use or only root may use it.
        """
        if wanted is not None and not _is_free(wanted):
            raise StackError(
                f"Port {wanted} is in use. "
                f"Choose another with {option} PORT, "
                f"or leave {option} out to take the next free one."
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
        # Servers do the same: a port is free as soon as its last server has closed it.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except PermissionError as error:
            raise StackError(f"Only root may use port {port}: choose one above 1023.") from error
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return False
    return True


# What PostgreSQL and Temporal's SQLite log when the disk is full or a quota is used up.
_FULL_DISK = re.compile(
    "No space left on device|Check free disk space|database or disk is full|Disk quota exceeded"
)
# The variables of our environment that every server gets.
_INHERITED_VARIABLES = ("PATH", "TMPDIR", "LD_LIBRARY_PATH")
# These replace ours. Temporal does not start if it finds neither the user in /etc/passwd nor USER
# and HOME. _launch sets HOME to the stack's folder, which has no configuration files.
_FIXED_VARIABLES = {"LC_ALL": "C", "TZ": "UTC", "USER": "order-lifecycle"}
# Where nss_wrapper finds a name for a user ID that has none (see user.py).
_NSS_WRAPPER_VARIABLES = ("NSS_WRAPPER_PASSWD", "NSS_WRAPPER_GROUP", "LD_PRELOAD")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class Server(ABC):
    """A server of the stack, as a child process.

    It has a process group of its own. So Ctrl-C in a terminal reaches only the supervisor, which
    then stops its servers in order.

    Start it in a thread that lives as long as the stack. Linux sends `stop_signal` to the server
    when the *thread* that started it ends.
    """

    name: str

    def __init__(self, home: Home, log: str, stop_signal: signal.Signals) -> None:
        """Prepare the server without starting it.

        Args:
            home: The folder of its data.
            log: The name of the file in `home` that gets its output.
            stop_signal: The signal that asks it to stop. The kernel also sends it when this process
                ends.
        """
        self.home = home
        self.log = home.path / log
        self.stop_signal = stop_signal
        # Why the server was not ready when we last looked, and whether that may pass.
        self.not_ready_reason = "it has just been started"
        self.transient = True
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def start(self) -> None:
        """Choose the ports and start the server, without waiting for it."""

    @abstractmethod
    def ready(self) -> bool:
        """Return True if the server answers. If it does not, call `not_ready` with the reason."""

    def not_ready(self, reason: str, transient: bool = True) -> bool:
        """Remember why the server is not ready, and return False.

        Args:
            reason: What is wrong, for a person.
            transient: True if waiting may help.
        """
        self.not_ready_reason, self.transient = reason, transient
        return False

    def wait_until_ready(self, pause: Callable[[], object]) -> None:
        """Wait until the server is ready, and call `pause` after each look at it.

        Another program may take a port after we chose it and before the server opens it. Then this
        starts the server again, with other ports.

        Raises:
            StackError: If the server ends, if an error that is not transient lasts for
                PERMANENT_AFTER, or if the server is not ready after READY_TIMEOUT. The message has
                the last reason and the end of the log.
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
                # Look at the whole log: Temporal prints a long stack trace after this line.
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
        """Return True if its process runs."""
        return self._process is not None and self._process.poll() is None

    def describe_exit(self) -> str:
        """Say how the server ended, with the end of its log."""
        status = self._process.returncode if self._process else 0
        how = (
            f"exit status {status}" if status >= 0 else f"killed by {signal.Signals(-status).name}"
        )
        if self.hit_full_disk():
            return f"{how}; {self.home.full_disk_message}. Then start again."
        return f"{how}; the end of its log:\n{self.tail()}"

    def hit_full_disk(self) -> bool:
        """Return True if the disk is full now, or if the end of the log says that it was."""
        return _FULL_DISK.search(self.tail()) is not None or self.home.disk_is_full()

    def tail(self, lines: int = 15) -> str:
        """Return the last lines of its log."""
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
        """Start a child process that logs to `self.log`.

        Args:
            command: The program and its arguments.
            cwd: Its current folder.
            extra_environment: Variables beside those that every server gets.
            inherited_files: Descriptors that it inherits, beside the lock of the servers.

        Raises:
            StackError: If the program cannot be started.
        """
        # Other variables (PGOPTIONS, TEMPORAL_…, a locale) would change how the server works.
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
        """Send the stop signal. Send SIGCONT, too: a process stopped by SIGSTOP must see it."""
        if self._process is not None:
            self._process.send_signal(self.stop_signal)
            for process in self._process_tree():
                with suppress(psutil.Error):
                    process.send_signal(signal.SIGCONT)

    def _process_tree(self) -> list[psutil.Process]:
        """Return its process and all descendants, which may have process groups of their own."""
        if self._process is None:
            return []
        try:
            process = psutil.Process(self._process.pid)
            return [process, *process.children(recursive=True)]
        except psutil.Error:
            return []  # the process has ended

    def stop_by(self, deadline: float) -> None:
        """Wait until `deadline` (of time.monotonic) for its end, then kill it."""
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
    """Stop all servers at the same time."""
    deadline = time.monotonic() + STOP_TIMEOUT
    for server in servers:
        server.ask_to_stop()
    for server in servers:
        server.stop_by(deadline)


@functools.cache
def setpriv(*options: str) -> list[str]:
    """Return what to put before a command to run it under `setpriv` with these options.

    Return an empty list where setpriv is missing or cannot do it, as on macOS, in a minimal Linux
    or in a locked-down container.
    """
    program = shutil.which("setpriv") if sys.platform == "linux" else None
    if (
        program is None
        or subprocess.run([program, *options, "true"], capture_output=True, cwd="/").returncode != 0
    ):
        return []
    return [program, *options]


def die_with_parent(number: signal.Signals) -> tuple[str, ...]:
    """Return the options of `setpriv` that signal a child when its parent ends, even by SIGKILL."""
    return "--pdeathsig", number.name.removeprefix("SIG")


def file_of_wheel(wheel: str, path: str) -> Path:
    """Return where pip has put a file of a wheel.

    Args:
        wheel: The name of the package.
        path: The end of the file's path.

    Raises:
        StackError: If the package is not installed or has no such file.
    """
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
