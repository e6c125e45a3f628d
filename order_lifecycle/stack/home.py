"""The folder where a stack keeps its data, and the lock that says that the stack is alive."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import tempfile
import time
from pathlib import Path

from order_lifecycle.settings import STACK_FILE, Addresses, running_stack
from order_lifecycle.stack.server import POLL, StackError

PREFIX = "order-lifecycle-"
LOCK_AT_MOST = 1.0  # s; who only looks whether a stack runs holds the lock for a moment


class Home:
    """A folder, locked for as long as its stack lives (see settings.STACK_FILE). Raises StackError
    if it cannot be had: another stack runs there, or it is not a folder for this."""

    def __init__(self, folder: Path | None) -> None:
        """`folder` None: a new temporary one, that `close` removes."""
        self.ephemeral = folder is None
        if folder is None:
            _remove_orphans()
            self.path = Path(tempfile.mkdtemp(prefix=PREFIX)).resolve()
        else:
            self.path = folder.resolve()
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not (self.path / STACK_FILE).exists() and any(self.path.iterdir()):
                raise StackError(
                    f"{self.path} is a folder with something else in it. "
                    "Give --home an empty folder."
                )
            self.path.chmod(0o700)
            self._lock = os.open(self.path / STACK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
            if not _locked(self._lock, LOCK_AT_MOST):
                os.close(self._lock)
                raise StackError(_runs_already(self.path))
            os.ftruncate(self._lock, 0)
            os.fchmod(self._lock, 0o600)
        except OSError as error:
            raise StackError(
                f"{self.path} cannot hold the data: {error.strerror}. Give another --home."
            ) from error

    def publish(self, addresses: Addresses) -> None:
        """Let `running_stack` find them."""
        os.pwrite(self._lock, addresses.model_dump_json().encode(), 0)

    def password(self) -> str:
        """The password of this home's PostgreSQL: random, made when first asked for, for the
        owner's eyes only."""
        file = self.password_file
        if not file.exists() or not file.read_text():
            file.touch(mode=0o600)
            file.write_text(secrets.token_urlsafe(24))
        return file.read_text()

    @property
    def password_file(self) -> Path:
        return self.path / "password"

    def close(self) -> None:
        if self.ephemeral:
            shutil.rmtree(self.path)
        else:
            os.ftruncate(self._lock, 0)
        os.close(self._lock)


def _locked(file: int, at_most: float) -> bool:
    give_up = time.monotonic() + at_most
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > give_up:
                return False
            time.sleep(POLL)


def _runs_already(path: Path) -> str:
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


def _remove_orphans() -> None:
    """Remove the folders of our ephemeral stacks that were killed: they have addresses, and nobody
    holds the lock."""
    for file in Path(tempfile.gettempdir()).glob(f"{PREFIX}*/{STACK_FILE}"):
        try:
            if file.parent.lstat().st_uid != os.geteuid() or not file.stat().st_size:
                continue
            with open(file) as lock:
                if _locked(lock.fileno(), at_most=0):
                    shutil.rmtree(file.parent)
        except FileNotFoundError:
            continue  # its own stack, or another one like us, has just removed it
