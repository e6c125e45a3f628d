"""A stack is killed at any moment: the next `up` in its home works by itself, and no acknowledged write is lost."""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest

from order_lifecycle.stack.errors import StackError
from order_lifecycle.stack.home import Home
from order_lifecycle.stack.postgres import Postgres
from order_lifecycle.stack.server import Ports, stop
from tests.stack.lives import Lives, as_ordinary_user, live

ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not ROOT, reason="only root can become another user, in a namespace of its own")
linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent is gone")


@pytest.mark.proof
@needs_root
def test_a_killed_container_starts_again(begin: Callable[..., Lives]) -> None:
    """Process IDs are used again, so `postmaster.pid` names a living process that is not PostgreSQL."""
    lives = begin(*as_ordinary_user())
    for number in range(4):
        lives.begin()
        addresses = lives.addresses()
        assert addresses
        lives.check(addresses)
        lives.write(addresses, f"life-{number}")
        lives.kill()


@linux
def test_a_home_that_is_killed_at_random_starts_again(begin: Callable[..., Lives]) -> None:
    live(begin(), 2, random.Random(1))  # test_many_lives.py has a hundred


def test_unfinished_files_of_a_killed_start_are_replaced(up: Callable[..., Any], tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "stack.json").write_text('{"temporal_host": "127.')
    (home / "password").touch()
    (home / "password.new").write_text("half of a passw")
    (home / "postgres.new").mkdir()
    (home / "postgres.new" / "PG_VERSION").write_text("18")
    with_mark = Home(home)
    with_mark.mark_unfinished("Temporal")
    with_mark.close()
    (home / "temporal.db").touch()  # without a schema
    (home / "temporal.db-journal").write_text("half of a journal")
    up(home).addresses()
    assert not list(home.glob("*.new"))
    assert not list(home.glob("*.unfinished"))


@pytest.mark.proof
def test_a_start_killed_before_the_roles_have_passwords_is_finished(up: Callable[..., Any], tmp_path: Path) -> None:
    """The data and the superuser's password exist, because initdb needs it. The other passwords come later."""
    with closing(Home(tmp_path / "home")) as home:
        server = Postgres(home, Ports())
        server.start()
        assert server._initdb
        assert server._initdb.wait(60) == 0
        home.move(server._unfinished, server._data)
    assert [path.name for path in home.path.glob("password*")] == ["password.superuser"]
    up(home.path).addresses()


@pytest.mark.proof
@linux
def test_postgresql_refuses_to_start_while_an_old_process_has_the_data_open(tmp_path: Path) -> None:
    """A process that outlives the first server may still write. Only PostgreSQL can detect that."""
    with closing(Home(tmp_path / "home")) as home:
        server = Postgres(home, Ports())
        try:
            server.start()
            server.wait_until_ready(lambda: time.sleep(0.02))
            first = psutil.Process(server._process.pid)  # type: ignore[union-attr]
            left = next(child for child in first.children() if "checkpointer" in " ".join(child.cmdline()))
            left.suspend()  # so that it does not notice
            first.kill()
            server._process.wait(10)  # type: ignore[union-attr]
            server.start()
            with pytest.raises(StackError, match=r"pre-existing shared memory block|lock file"):
                server.wait_until_ready(lambda: time.sleep(0.02))
            left.kill()
            psutil.wait_procs([left], timeout=10)
            server.start()
            server.wait_until_ready(lambda: time.sleep(0.02))
        finally:
            stop([server])
