"""The folder where a stack keeps its data, and the locks that say who uses it.

Three kinds of files make it safe to kill a stack at any moment:

- `stack.json` is locked for as long as the supervisor lives (see settings.STACK_FILE).
- `servers.lock` is locked for as long as any process of its servers lives: they inherit the lock.
  Whoever holds it knows that nobody has the data open, whatever a file with a process ID says.
- A mark says what may be removed: `ephemeral`, the whole folder; `<name>.unfinished`, the data of
  that server, which was never ready. Without its mark, nothing is ever removed.
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
from order_lifecycle.stack.server import POLL_INTERVAL, StackError

PREFIX = "order-lifecycle-"
# A symbolic link to the folder's own path: it gets its name and its content in one step, and says
# nothing about a copy of the folder.
EPHEMERAL = "ephemeral"
SERVERS_LOCK = "servers.lock"
WAL_SEGMENT_SIZE = 16 * 2**20  # bytes; PostgreSQL makes its write-ahead log in files of this size
LOCK_TIMEOUT = 1.0  # s; a command that looks for a running stack holds the lock for a moment
# How long the servers of a stack that was killed may take to end, after each way to ask them.
OLD_SERVERS_TIMEOUT = 6.0  # s


class Home:
    """A folder, locked for as long as its stack lives.

    Raises StackError if the folder cannot be used: another stack runs there, or it holds something
    else.
    """

    def __init__(self, folder: Path | None) -> None:
        """`folder`: where the data is kept; None: a new temporary folder, which `close` removes."""
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
        os.ftruncate(self._lock, 0)
        os.fchmod(self._lock, 0o600)
        if not self.ephemeral:
            # Somebody wants to keep the data of a stack that was killed.
            (self.path / EPHEMERAL).unlink(missing_ok=True)
        self.servers_lock = _open_private(self.path / SERVERS_LOCK)
        try:
            _wait_for_servers(self.servers_lock, self.path)
        except BaseException:
            os.close(self.servers_lock)
            raise

    # --- what one life leaves to the next -------------------------------------------------------

    @property
    def has_lock_record(self) -> bool:
        """Return whether every server that ever used the data has inherited `servers.lock`.

        Then nobody has the data open now. A folder made by an older version of this project has no
        such record until `write_lock_record` makes it.
        """
        return os.fstat(self.servers_lock).st_size > 0

    def write_lock_record(self) -> None:
        """Record that only servers that inherit `servers.lock` use the data from now on."""
        if not self.has_lock_record:
            os.pwrite(self.servers_lock, b"held by every server that uses this folder\n", 0)

    def mark_unfinished(self, name: str) -> None:
        """Mark the data of the server `name` as never ready, before its first file is made."""
        self._durably(lambda: self._unfinished_mark(name).touch())

    def is_unfinished(self, name: str) -> bool:
        """Return whether an earlier start of the server `name` began its data and was killed."""
        return self._unfinished_mark(name).exists()

    def mark_finished(self, name: str) -> None:
        """Take the mark away: the server `name` was ready, so its data is never removed."""
        if self.is_unfinished(name):
            self._durably(self._unfinished_mark(name).unlink)

    def _unfinished_mark(self, name: str) -> Path:
        return self.path / f"{name}.unfinished"

    def move(self, old: Path, new: Path) -> None:
        """Rename a file or folder in this one. It stays renamed after a power cut."""
        self._durably(lambda: old.rename(new))

    def write(self, file: Path, content: str) -> None:
        """Write a file for the owner's eyes only: whole or not at all, also after a power cut."""
        new = file.with_name(f"{file.name}.new")
        new.unlink(missing_ok=True)
        with os.fdopen(_open_private(new), "w", encoding="utf-8") as text:
            text.write(content)
            text.flush()
            if not self.ephemeral:
                os.fsync(text.fileno())
        self.move(new, file)

    def _durably(self, change: Callable[[], object]) -> None:
        change()
        if self.ephemeral:
            return
        folder = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    # --- while it lives -------------------------------------------------------------------------

    def publish(self, addresses: Addresses) -> None:
        """Let `running_stack` find them."""
        os.pwrite(self._lock, addresses.model_dump_json().encode(), 0)

    def password(self, name: str = "password") -> str:
        """Return the password in the file `name`. The first call makes a random one."""
        file = self.path / name
        if not file.exists() or not file.read_text():
            self.write(file, secrets.token_urlsafe(24))
        return file.read_text()

    def exists(self) -> bool:
        """Return whether the folder is still there. (Not every file system gives a file the same
        number twice, so the numbers are not compared.)"""
        return (self.path / STACK_FILE).exists() and os.fstat(self._lock).st_nlink > 0

    def disk_is_full(self) -> bool:
        """Return whether the disk has no room for the next file of PostgreSQL's log."""
        return disk_is_full(self._lock)

    @property
    def full_disk_message(self) -> str:
        """Return the sentence for a full disk."""
        return full_disk_message(self.path)

    def close(self) -> None:
        if not self.ephemeral:
            os.ftruncate(self._lock, 0)
        elif self.exists():
            _remove(self.path)
        os.close(self.servers_lock)
        os.close(self._lock)


def disk_is_full(where: Path | int) -> bool:
    """Return whether the disk of that file has no room for the next file of PostgreSQL's log."""
    about = os.statvfs(where)
    return about.f_bavail * about.f_frsize < WAL_SEGMENT_SIZE


def full_disk_message(folder: Path) -> str:
    """Return the sentence for a full disk."""
    return (
        f"the disk that holds {folder} is full. Free some space there; "
        "what was acknowledged is kept, and orders go on afterwards"
    )


# --- the folder and its lock ---------------------------------------------------------------------


def _kept_folder(folder: Path) -> tuple[Path, int]:
    path = folder.resolve()
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not (path / STACK_FILE).exists() and any(path.iterdir()):
        raise StackError(
            f"{path} is a folder with something else in it. Give --home an empty folder."
        )
    path.chmod(0o700)
    lock = _open_private(path / STACK_FILE)
    if not _try_lock(lock, LOCK_TIMEOUT):
        os.close(lock)
        raise StackError(_already_running_message(path))
    return path, lock


def _new_folder() -> tuple[Path, int]:
    while True:
        path = Path(tempfile.mkdtemp(prefix=PREFIX)).resolve()
        path.chmod(0o700)
        # Before anything else: from here on the next start removes the folder if we are killed.
        (path / EPHEMERAL).symlink_to(path)
        try:
            lock = _open_private(path / STACK_FILE)
        except FileNotFoundError:
            continue  # a stack that starts beside us saw no lock, and has removed the folder
        if _try_lock(lock, timeout=0) and os.fstat(lock).st_nlink:
            return path, lock
        os.close(lock)


def _open_private(file: Path) -> int:
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    os.fchmod(descriptor, 0o600)  # whatever the umask made of it
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

    The kernel asks them to stop when their supervisor is killed. Where it cannot (macOS, or without
    setpriv), or where one was stopped by SIGSTOP, we ask.
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
    import psutil  # which ipykernel brings

    wanted = os.fstat(lock)
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and any(
                os.path.samestat(os.stat(file.path), wanted) for file in process.open_files()
            ):
                process.send_signal(number)
                process.send_signal(signal.SIGCONT)
        except (psutil.Error, OSError):
            continue  # it has just ended, or is somebody else's


# --- folders of ephemeral stacks that were killed ------------------------------------------------


def _remove_orphans() -> None:
    """Remove the folders of our own ephemeral stacks that were killed, at whatever age."""
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
            continue  # its own stack, or another start, has just removed it; or it is not for us


def _end_servers(path: Path) -> None:
    """End what still runs there, if the kernel has not: nobody can use it any more."""
    lock = _open_private(path / SERVERS_LOCK)
    try:
        if not _try_lock(lock, LOCK_TIMEOUT):
            _signal_holders(lock, signal.SIGKILL)
            _try_lock(lock, OLD_SERVERS_TIMEOUT)
    finally:
        os.close(lock)


def _is_ephemeral(path: Path) -> bool:
    """Return whether we made that folder for one run: it is a folder of this user's with our mark,
    and the mark names this very folder."""
    folder, mark = path.lstat(), (path / EPHEMERAL).lstat()
    return (
        stat.S_ISDIR(folder.st_mode)
        and stat.S_ISLNK(mark.st_mode)
        and folder.st_uid == mark.st_uid == os.geteuid()
        and (path / EPHEMERAL).readlink() == path
    )


def _remove(path: Path) -> None:
    """Remove an ephemeral folder. The mark and the lock go last, so that a removal that is
    interrupted can be taken up again."""
    last = [path / EPHEMERAL, path / STACK_FILE]
    for entry in path.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry not in last:
            entry.unlink()
    for entry in last:
        entry.unlink(missing_ok=True)
    with suppress(OSError):  # a start beside us has just opened the lock anew, and removes the rest
        path.rmdir()
