"""The next start removes what a killed ephemeral stack left behind, and nothing else."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest

from order_lifecycle.stack.errors import StackError
from order_lifecycle.stack.home import EPHEMERAL, PREFIX, SERVERS_LOCK, Home, _remove_orphans
from tests.support.waiting import wait_until

KEPT = "thesis.txt"


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder for temporary files that no other test uses."""
    folder = tmp_path.resolve() / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def the_next_start() -> None:
    Home(None).close()


def ours(temporary: Path) -> list[str]:
    return [path.name for path in temporary.glob(f"{PREFIX}*")]


def killed(folder: Path) -> Path:
    """Make an ephemeral folder as a stack leaves it if it is killed just after it marked the folder."""
    folder.mkdir()
    (folder / EPHEMERAL).symlink_to(folder)
    return folder


def test_a_kept_home_in_the_temporary_folder_is_never_removed(temporary: Path) -> None:
    home = temporary / f"{PREFIX}of-mine"
    with closing(Home(home)):
        (home / KEPT).touch()
    # Killed: its addresses are still written down, and nobody holds the lock.
    (home / "stack.json").write_text('{"temporal_host": "127.0.0.1:7233"}')
    the_next_start()
    assert (home / KEPT).exists()


def with_a_mark_of_another_folder(folder: Path, temporary: Path) -> None:
    (folder / EPHEMERAL).symlink_to(temporary / "elsewhere")


def with_a_file_for_a_mark(folder: Path, temporary: Path) -> None:
    (folder / EPHEMERAL).write_text(str(folder))


def with_a_link_for_a_lock(folder: Path, temporary: Path) -> None:
    (folder / EPHEMERAL).symlink_to(folder)
    (folder / "stack.json").symlink_to(temporary / "elsewhere")


def of_another_user(folder: Path, temporary: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    (folder / EPHEMERAL).symlink_to(folder)
    os.chown(folder, 1, 1)


@pytest.mark.parametrize(
    "it_is", [with_a_mark_of_another_folder, with_a_file_for_a_mark, with_a_link_for_a_lock, of_another_user]
)
def test_a_folder_that_is_not_ours_is_never_removed(it_is: Callable[[Path, Path], None], temporary: Path) -> None:
    folder = temporary / f"{PREFIX}abc"
    folder.mkdir()
    (folder / KEPT).touch()
    it_is(folder, temporary)
    the_next_start()
    assert (folder / KEPT).exists()


def test_a_link_to_an_ephemeral_folder_is_not_followed(temporary: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path.resolve() / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / KEPT).touch()
    folder = temporary / f"{PREFIX}abc"
    folder.symlink_to(elsewhere)
    (elsewhere / EPHEMERAL).symlink_to(folder)
    the_next_start()
    assert (elsewhere / KEPT).exists()


def test_the_target_of_a_link_in_an_ephemeral_folder_is_kept(temporary: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / KEPT).touch()
    (killed(temporary / f"{PREFIX}abc") / "postgres").symlink_to(elsewhere)
    the_next_start()
    assert ours(temporary) == []
    assert (elsewhere / KEPT).exists()


def test_a_copy_of_an_ephemeral_folder_is_kept(temporary: Path) -> None:
    folder = killed(temporary / f"{PREFIX}abc")
    (folder / KEPT).touch()
    copy = temporary / f"{PREFIX}copy"
    shutil.copytree(folder, copy, symlinks=True)
    the_next_start()
    assert ours(temporary) == [copy.name]
    assert (copy / KEPT).exists()


def test_an_ephemeral_folder_that_is_given_as_a_home_is_kept(temporary: Path) -> None:
    folder = killed(temporary / f"{PREFIX}abc")
    (folder / "stack.json").touch()
    (folder / KEPT).touch()
    Home(folder).close()
    the_next_start()
    assert (folder / KEPT).exists()


def test_an_interrupted_removal_is_finished(temporary: Path) -> None:
    folder = killed(temporary / f"{PREFIX}abc")
    (folder / "stack.json").touch()
    the_next_start()
    assert ours(temporary) == []


def test_a_running_stack_keeps_its_folder(temporary: Path) -> None:
    with closing(Home(None)) as home:
        the_next_start()
        assert home.exists()
        assert (home.path / "stack.json").exists()
    assert ours(temporary) == []


START_AND_END = """
from order_lifecycle.stack.home import Home
for _ in range(20):
    home = Home(None)
    assert home.exists()
    home.close()
"""


def test_stacks_that_start_at_once_do_not_remove_each_other(temporary: Path) -> None:
    all_of_them = [subprocess.Popen([sys.executable, "-c", START_AND_END], stderr=subprocess.PIPE) for _ in range(4)]
    for process in all_of_them:
        said = process.communicate(timeout=60)[1]
        assert process.returncode == 0, said.decode()
    _remove_orphans()
    assert ours(temporary) == []


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent is gone")
def test_a_stack_that_is_killed_before_it_is_ready_is_removed(up: Callable[..., Any], temporary: Path) -> None:
    it = up(None)
    wait_until(lambda: list(temporary.glob(f"{PREFIX}*/postgres.new/PG_VERSION")), what="initdb", timeout=60)
    it.processes()
    it.end(it.process.kill)
    assert len(ours(temporary)) == 1
    the_next_start()
    assert ours(temporary) == []


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent is gone")
def test_a_second_server_that_is_killed_is_removed(temporary: Path) -> None:
    command = [sys.executable, "-m", "order_lifecycle.stack.second_server", "time-skipping"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout
    assert process.stdin
    assert process.stdout.readline().startswith(b"127.0.0.1:")
    process.kill()
    process.communicate()
    assert len(ours(temporary)) == 1
    the_next_start()
    assert ours(temporary) == []


# --- servers that outlive their supervisor -------------------------------------------------------

HOLDS_THE_LOCK = """
import signal, sys, time
if sys.argv[1] == "stubborn":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
else:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
print("ready", flush=True)
time.sleep(600)
"""


def leftover(home: Path, kind: str) -> subprocess.Popen[bytes]:
    """Start a server of a stack that was killed. The server has inherited the lock."""
    with closing(Home(home)) as first:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDS_THE_LOCK, kind], stdout=subprocess.PIPE, pass_fds=[first.servers_lock]
        )
        assert process.stdout
        process.stdout.readline()
    return process


@pytest.mark.parametrize("kind", ["stubborn", "stopped"])
def test_a_server_that_outlived_its_supervisor_is_stopped_before_the_next_starts(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("order_lifecycle.stack.home.OLD_SERVERS_TIMEOUT", 0.2)
    process = leftover(tmp_path / "home", kind)
    if kind == "stopped":
        psutil.Process(process.pid).suspend()
    Home(tmp_path / "home").close()
    assert -process.wait(10) == (signal.SIGKILL if kind == "stubborn" else signal.SIGINT)


def test_a_server_that_cannot_be_stopped_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("order_lifecycle.stack.home.OLD_SERVERS_TIMEOUT", 0.2)
    home = tmp_path / "home"
    Home(home).close()
    # Held by this very process, which it does not end.
    with (home / SERVERS_LOCK).open() as lock:
        import fcntl

        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(StackError, match="Servers of an earlier stack still use"):
            Home(home)
    Home(home).close()


def test_a_home_of_an_older_version_gets_a_lock_record(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "stack.json").touch()
    (home / "postgres").mkdir()
    with closing(Home(home)) as it:
        assert not it.has_lock_record
        it.write_lock_record()
        assert it.has_lock_record
    with closing(Home(home)) as again:
        assert again.has_lock_record
