"""Lock the folder where a stack keeps its data, and clean up after a stack that was killed.

Three kinds of files make it safe to kill a stack at any moment:

- The supervisor locks `stack.json` for as long as it lives (see settings.STACK_FILE).
- Every process of the servers inherits the lock on `servers.lock`. So a new stack that gets this
  lock knows that no server has the data open, even if a PID file says otherwise.
- A mark allows a new stack to remove something. `ephemeral` allows it for the whole folder,
  `<name>.unfinished` for the data of that server, which was never ready. What has no mark is never
  removed.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import signal
import stat
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from order_lifecycle.settings import STACK_FILE, Addresses, running_stack
from order_lifecycle.stack.errors import StackError
from order_lifecycle.waiting import POLL_INTERVAL

PREFIX = "order-lifecycle-"
# A symbolic link to the folder's own path. A link gets its name and its content in one step, and
# in a copy of the folder it still names the original, so the copy is not removed.
EPHEMERAL = "ephemeral"
SERVERS_LOCK = "servers.lock"
WAL_SEGMENT_SIZE = 16 * 2**20  # bytes; PostgreSQL makes its write-ahead log in files of this size
LOCK_TIMEOUT = 1.0  # s; a command that looks for a running stack holds the lock for a moment
# How long the servers of a killed stack may take to end, after each signal.
OLD_SERVERS_TIMEOUT = 6.0  # s


class Home:
    """The data folder of one stack, locked until `close`.

    Raises:
        StackError: If the folder cannot be used: another stack runs there, it holds other files,
            or this user may not write there.
    """

    def __init__(self, folder: Path | None) -> None:
        """Lock the folder, and wait until no server of an earlier stack uses it.

        Args:
            folder: Where the data is kept. None makes a temporary folder, which `close` removes.
        """
        self.ephemeral = folder is None
        if folder is None:
            _remove_orphans()
        where = folder or Path(tempfile.gettempdir())
        try:
            self.path, self._lock = _new_folder() if folder is None else _kept_folder(folder)
            try:
                self._clear_previous_run()
            except BaseException:
                os.close(self._lock)
                raise
        except OSError as error:
            raise StackError(
                f"{where} cannot hold the data: {error.strerror}. "
                + ("Set TMPDIR to another folder." if folder is None else "Give another --home.")
            ) from error

    def _clear_previous_run(self) -> None:
        """Remove the addresses of an earlier stack, and wait until its servers have ended."""
        os.ftruncate(self._lock, 0)
        os.fchmod(self._lock, 0o600)
        if not self.ephemeral:
            # The user names the folder of a killed ephemeral stack, so the data is kept from now.
            (self.path / EPHEMERAL).unlink(missing_ok=True)
        self.servers_lock = _open_private(self.path / SERVERS_LOCK)
        try:
            _wait_for_servers(self.servers_lock, self.path)
        except BaseException:
            os.close(self.servers_lock)
            raise

    # --- what one stack leaves to the next ------------------------------------------------------

    @property
    def has_lock_record(self) -> bool:
        """True if every server that ever used the data has inherited `servers.lock`.

        As we hold that lock, no server has the data open now. In a folder made by an older version
        of this project, this is False until `write_lock_record` is called.
        """
        return os.fstat(self.servers_lock).st_size > 0

    def write_lock_record(self) -> None:
        """Record that from now on every server of this folder inherits `servers.lock`."""
        if not self.has_lock_record:
            os.pwrite(self.servers_lock, b"held by every server that uses this folder\n", 0)

    def mark_unfinished(self, name: str) -> None:
        """Mark the data of the server `name` as never ready.

        Call it before the server makes its first file.
        """
        self._durably(lambda: self._unfinished_mark(name).touch())

    def is_unfinished(self, name: str) -> bool:
        """Return True if the data of the server `name` was begun and the server was never ready."""
        return self._unfinished_mark(name).exists()

    def mark_finished(self, name: str) -> None:
        """Remove the mark: the server `name` was ready, so its data is kept from now on."""
        if self.is_unfinished(name):
            self._durably(self._unfinished_mark(name).unlink)

    def _unfinished_mark(self, name: str) -> Path:
        return self.path / f"{name}.unfinished"

    def move(self, old: Path, new: Path) -> None:
        """Rename a file or folder in this folder. It stays renamed after a power cut."""
        self._durably(lambda: old.rename(new))

    def write(self, file: Path, content: str) -> None:
        """Write a file that only its owner can read.

        After a power cut the file has all of the content, or does not exist.
        """
        new = file.with_name(f"{file.name}.new")
        new.unlink(missing_ok=True)
        with os.fdopen(_open_private(new), "w", encoding="utf-8") as text:
            text.write(content)
            text.flush()
            if not self.ephemeral:
                os.fsync(text.fileno())
        self.move(new, file)

    def _durably(self, change: Callable[[], object]) -> None:
        """Change the folder's entries, and make the change survive a power cut."""
        change()
        if self.ephemeral:
            return
        folder = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    # --- while the stack runs -------------------------------------------------------------------

    def publish(self, addresses: Addresses) -> None:
        """Write the addresses where `running_stack` finds them."""
        os.pwrite(self._lock, addresses.model_dump_json().encode(), 0)

    def password(self, name: str = "password") -> str:
        """Return the password in the file `name`. The first call makes a random one."""
        file = self.path / name
        if not file.exists() or not file.read_text():
            self.write(file, secrets.token_urlsafe(24))
        return file.read_text()

    def exists(self) -> bool:
        """Return True if the folder is still there under its name."""
        # Inode numbers are not compared: some file systems give one file different numbers.
        return (self.path / STACK_FILE).exists() and os.fstat(self._lock).st_nlink > 0

    def disk_is_full(self) -> bool:
        """Return True if the disk has no room for PostgreSQL's next write-ahead log file."""
        return disk_is_full(self._lock)

    @property
    def full_disk_message(self) -> str:
        """The message for a full disk, without a full stop."""
        return full_disk_message(self.path)

    def close(self) -> None:
        """Release the locks, and remove the folder if it is ephemeral."""
        if not self.ephemeral:
            os.ftruncate(self._lock, 0)
        elif self.exists():
            _remove(self.path)
        os.close(self.servers_lock)
        os.close(self._lock)


def disk_is_full(where: Path | int) -> bool:
    """Return True if the disk of `where` has no room for PostgreSQL's next write-ahead log file.

    Args:
        where: A file or folder on that disk, as a path or a file descriptor.
    """
    about = os.statvfs(where)
    return about.f_bavail * about.f_frsize < WAL_SEGMENT_SIZE


def full_disk_message(folder: Path) -> str:
    """Return the message for a full disk, without a full stop."""
    return (
        f"the disk that holds {folder} is full. Free some space there: "
        "nothing acknowledged is lost, and orders go on afterwards"
    )


# --- the folder and its lock ---------------------------------------------------------------------


def _kept_folder(folder: Path) -> tuple[Path, int]:
    """Make and lock the folder that the user names. Return its path and its lock."""
    path = folder.resolve()
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not (path / STACK_FILE).exists() and any(path.iterdir()):
        raise StackError(
            f"The folder {path} has something else in it. Give --home an empty folder."
        )
    path.chmod(0o700)
    lock = _open_private(path / STACK_FILE)
    if not _try_lock(lock, LOCK_TIMEOUT):
        os.close(lock)
        raise StackError(_already_running_message(path))
    return path, lock


def _new_folder() -> tuple[Path, int]:
    """Make and lock a temporary folder. Return its path and its lock."""
    while True:
        path = Path(tempfile.mkdtemp(prefix=PREFIX)).resolve()
        path.chmod(0o700)
        # The mark comes first: if we are killed from here on, the next start removes the folder.
        (path / EPHEMERAL).symlink_to(path)
        try:
            lock = _open_private(path / STACK_FILE)
        except FileNotFoundError:
            continue  # another stack that is starting saw no lock and removed the folder
        if _try_lock(lock, timeout=0) and os.fstat(lock).st_nlink:
            return path, lock
        os.close(lock)


def _open_private(file: Path) -> int:
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    os.fchmod(descriptor, 0o600)  # independent of the umask
    return descriptor


def _try_lock(file: int, timeout: float) -> bool:
    deadline = time.monotonic() + timeout
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_INTERVAL)


def _already_running_message(path: Path) -> str:
    running = running_stack(path)
    if running is None:
        return (
            f"Another stack is just starting or stopping in {path}: "
            "try again, or give another --home DIR."
        )
    return (
        f"A stack runs in {path} already: "
        f"Temporal at {running.temporal_host}, Web UI at {running.ui_url}. "
        "Use it (everything in this folder finds it), stop it with Ctrl-C where it runs, "
        "or start another with --home DIR or --ephemeral."
    )


# --- servers of a stack that was killed ----------------------------------------------------------


def _wait_for_servers(lock: int, path: Path) -> None:
    """Wait until no server of an earlier stack has the data open. End those that stay.

    When their supervisor is killed, the Linux kernel asks them to stop (see die_with_parent). We
    send the signals where it cannot: on macOS, without setpriv, and to a server that SIGSTOP has
    stopped.
    """
    for number in (None, signal.SIGINT, signal.SIGKILL):
        if number is not None:
            _signal_holders(lock, number)
        if _try_lock(lock, OLD_SERVERS_TIMEOUT):
            return
    raise StackError(
        f"Servers of an earlier stack still use {path}, and this user cannot end them. "
        "End the processes named postgres and temporal, then try again."
    )


def _signal_holders(lock: int, number: signal.Signals) -> None:
    """Send a signal to every process that has this file open, except this one."""
    import psutil  # a dependency of ipykernel

    wanted = os.fstat(lock)
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and any(
                os.path.samestat(os.stat(file.path), wanted) for file in process.open_files()
            ):
                process.send_signal(number)
                process.send_signal(signal.SIGCONT)
        except (psutil.Error, OSError):
            continue  # the process has just ended, or belongs to another user


# --- folders of ephemeral stacks that were killed ------------------------------------------------


def _remove_orphans() -> None:
    """Remove the folders of this user's ephemeral stacks that were killed."""
    for path in Path(tempfile.gettempdir()).resolve().glob(f"{PREFIX}*"):
        try:
            if _is_ephemeral(path):
                lock = _open_private(path / STACK_FILE)
                try:
                    if _try_lock(lock, timeout=0):
                        _end_servers(path)
                        _remove(path)
                finally:
                    os.close(lock)
        except OSError:
            continue  # another stack has just removed it, or it belongs to another user


def _end_servers(path: Path) -> None:
    """Kill the servers that still run in the folder of a killed ephemeral stack."""
    lock = _open_private(path / SERVERS_LOCK)
    try:
        if not _try_lock(lock, LOCK_TIMEOUT):
            _signal_holders(lock, signal.SIGKILL)
            _try_lock(lock, OLD_SERVERS_TIMEOUT)
    finally:
        os.close(lock)


def _is_ephemeral(path: Path) -> bool:
    """Return True if this user's ephemeral stack made that folder.

    It belongs to this user and has our mark, and the mark names this folder itself.
    """
    folder, mark = path.lstat(), (path / EPHEMERAL).lstat()
    return (
        stat.S_ISDIR(folder.st_mode)
        and stat.S_ISLNK(mark.st_mode)
        and folder.st_uid == mark.st_uid == os.geteuid()
        and (path / EPHEMERAL).readlink() == path
    )


def _remove(path: Path) -> None:
    """Remove an ephemeral folder.

    The mark and the lock go last: if the removal is interrupted, the next start continues it.
    """
    last = [path / EPHEMERAL, path / STACK_FILE]
    for entry in path.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry not in last:
            entry.unlink()
    for entry in last:
        entry.unlink(missing_ok=True)
    with suppress(OSError):  # another start has just made the lock file again; it removes the rest
        path.rmdir()
