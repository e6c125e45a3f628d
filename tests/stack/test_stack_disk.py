"""The disk fills up, or the folder is removed, while the stack runs."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import NullPool, create_engine, text
from sqlalchemy.exc import DBAPIError

from tests.support.waiting import wait_until

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a file system")
MEGABYTE = 2**20
ITEMS = '[{"name": "apple", "qty": 1, "price": 5}]'
ADDRESS = '{"address": "575 Lake Dr.", "city": "Columbus", "state": "OH", "zipcode": "43210"}'


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Yield a folder with a file system of 160 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=160m", "tmpfs", folder], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def fill(disk: Path, leave: int = 0) -> Path:
    """Fill the disk except for so many bytes."""
    ballast = disk / "ballast"
    with ballast.open("wb") as file:
        while (free := os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize) > leave:
            file.write(b"x" * min(free - leave, MEGABYTE))
            file.flush()
    return ballast


def wait_until_said(it: Any, words: str) -> None:
    wait_until(it.said, lambda said: words in said, what=words, timeout=60)


def rows(database_url: str) -> int:
    with create_engine(database_url, poolclass=NullPool).connect() as tx:
        return int(tx.scalar(text("SELECT count(*) FROM orders")) or 0)


def write(database_url: str, count: int) -> None:
    """Write `count` orders of a kilobyte each in one transaction."""
    insert = text(
        "INSERT INTO orders (id, state, items, address_json) SELECT gen_random_uuid()::text, 'received', "
        "jsonb_build_array(jsonb_build_object('name', repeat('x', 100), 'qty', 1, 'price', '5.00')), "
        """'{"address": "575 Lake Dr.", "city": "Columbus", "state": "OH", "zipcode": "43210"}' """
        "FROM generate_series(1, :count)"
    )
    with create_engine(database_url, poolclass=NullPool).begin() as tx:
        tx.execute(insert, {"count": count})


@pytest.mark.proof
@needs_root
def test_a_disk_that_fills_up_is_named_and_loses_no_saved_order(small_disk: Path, up: Callable[..., Any]) -> None:
    home = small_disk / "home"
    it = up(home)
    url = it.addresses().database_url
    write(url, 100)
    ballast = fill(small_disk)
    wait_until_said(it, f"Attention: the disk that holds {home} is full. Free some space there")
    acknowledged = 100
    told = subprocess.run(
        [sys.executable, "-m", "order_lifecycle", "start", "abc-001", "p-1", "--items", ITEMS, "--address", ADDRESS],
        env={**os.environ, "ORDER_LIFECYCLE_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert (told.returncode, told.stderr.count("\n")) == (1, 1), told.stderr
    assert f"the disk that holds {home} is full. Free some space there" in told.stderr
    try:
        while acknowledged < 100_000:
            write(url, 1000)
            acknowledged += 1000
    except DBAPIError as error:
        refused = str(error)
    assert refused
    if it.process.poll() is None:  # PostgreSQL may have ended by it, or not
        ballast.unlink()
        wait_until_said(it, "There is space on the disk again.")
        it.end(lambda: it.process.send_signal(signal.SIGTERM))
    else:
        assert "is full. Free some space there" in it.said().splitlines()[-1]
        ballast.unlink()
    assert "\x1b" not in it.said()
    again = up(home)
    assert rows(again.addresses().database_url) == acknowledged


@needs_root
@pytest.mark.proof
@pytest.mark.parametrize("leave", [0, 20 * MEGABYTE])
def test_a_disk_that_is_full_at_the_start_is_named(leave: int, small_disk: Path, up: Callable[..., Any]) -> None:
    ballast = fill(small_disk, leave)
    it = up(small_disk / "home")
    assert it.process.wait(90) == 1
    said = it.said()
    assert "full" in said or "No space left on device" in said
    assert "Traceback" not in said
    assert "\x1b" not in said
    assert len(said.splitlines()) <= 4
    ballast.unlink()
    up(small_disk / "home").addresses()


def remove(folder: Path) -> None:
    while folder.exists():  # the servers may make a file meanwhile
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.proof
def test_a_home_that_is_removed_while_its_stack_runs_is_named(up: Callable[..., Any], tmp_path: Path) -> None:
    home = tmp_path / "home"
    it = up(home)
    it.addresses()
    assert it.end(lambda: remove(home)) == 1
    assert f"The folder {home} was removed or renamed while the stack ran" in it.said()
    assert "Traceback" not in it.said()
    up(home).addresses()
