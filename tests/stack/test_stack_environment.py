"""Variables that are set for other programs, and files beside a notebook, do not affect our servers."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg2
import pytest

import order_lifecycle
from order_lifecycle.db.errors import why_unusable
from order_lifecycle.settings import Addresses, Settings
from order_lifecycle.stack.child_process import ChildProcess
from order_lifecycle.stack.child_servers import STACK, read_addresses
from order_lifecycle.stack.errors import StackError
from order_lifecycle.stack.stack import Stack
from tests.support import measured
from tests.support.harmful_environment import (
    ALL,
    HARMFUL,
    OF_PYTHON,
    OF_TEMPORAL,
    can_connect,
    shadow_the_standard_library,
)


@pytest.fixture
def of_a_learner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with files that are named like modules of the standard library."""
    monkeypatch.delenv(measured.START, raising=False)  # coverage would import them, before ours can prevent it
    folder = tmp_path / "of a learner"
    folder.mkdir()
    shadow_the_standard_library(folder)
    return folder


@pytest.mark.parametrize("name", ALL)
def test_no_libpq_variable_reaches_a_running_stack(
    name: str, stack: Addresses, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, ALL[name])
    if name in HARMFUL:
        with pytest.raises(psycopg2.Error):
            can_connect(stack.database_url)
    found = Settings(order_lifecycle_home=Path(stack.home)).resolved()
    assert found.database_url
    can_connect(found.database_url.get_secret_value())
    assert name not in os.environ


def test_libpq_variables_reach_your_own_server_and_errors_name_them(
    stack: Addresses, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGSSLMODE", "require")
    given = Settings(database_url=stack.database_url, temporal_host=stack.temporal_host).resolved()
    assert given.database_url
    named = r"these variables apply here: .*PGSSLMODE"
    with pytest.raises(StackError, match=named):
        Stack(None, settings=given).__enter__()
    assert re.search(named, str(why_unusable(given.database_url.get_secret_value())))  # as a worker says it
    assert os.environ["PGSSLMODE"] == "require"


def test_no_variable_and_no_file_in_the_folder_changes_a_demo(of_a_learner: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / ".config" / "temporalio").mkdir(parents=True)
    (home / ".config" / "temporalio" / "temporal.toml").write_text("[profile.default]\naddress = '192.0.2.1:1'\n")
    for name in (".pgpass", ".pg_service.conf"):
        (home / name).write_text("not what it should be")
        (home / name).chmod(0o600)
    harmful = ALL | OF_TEMPORAL | OF_PYTHON | {"HOME": str(home), "PYTHONPATH": str(of_a_learner)}
    done = subprocess.run(
        [sys.executable, "-m", "order_lifecycle", "demo"],
        env={**os.environ, **harmful},
        cwd=of_a_learner,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=150,
    )
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    assert b"order_shipped" in done.stdout
    assert b"not the" not in done.stdout + done.stderr


def test_output_in_place_of_the_addresses_is_shown_in_the_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    talks = tmp_path / "python"
    talks.write_text(f'#!/bin/sh\necho "Welcome to this Python!"\nexec "{sys.executable}" "$@"\n')
    talks.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(talks))
    with pytest.raises(StackError, match="but it is 'Welcome to this Python!'"):
        read_addresses(ChildProcess("stack", [*STACK]))


WHERE = "import order_lifecycle, random, beside; print(order_lifecycle.__file__, random.__file__, beside.__file__)"
STARTS_IT = (
    "import subprocess; from order_lifecycle.isolated import command; subprocess.run(command('order_lifecycle.where'))"
)


def test_a_checkout_on_pythonpath_starts_its_own_modules(of_a_learner: Path, tmp_path: Path) -> None:
    """It also finds modules that are only there, as for a user who installs no packages."""
    checkout = tmp_path / "checkout"
    package = checkout / "order_lifecycle"
    shutil.copytree(Path(order_lifecycle.__file__).parent, package)
    (package / "where.py").write_text(WHERE)
    (of_a_learner / "beside.py").touch()
    done = subprocess.run(
        [sys.executable, "-P", "-c", STARTS_IT],
        env={**os.environ, "PYTHONPATH": f"{checkout}{os.pathsep}{of_a_learner}"},
        cwd=of_a_learner,
        capture_output=True,
        text=True,
    )
    import random

    assert done.stdout.split(maxsplit=2) == [
        str(package / "__init__.py"),
        random.__file__,
        f"{of_a_learner / 'beside.py'}\n",
    ], done.stderr


@pytest.mark.proof
@pytest.mark.parametrize("server", ["temporal", "postgres"])
def test_a_server_gets_none_of_the_users_variables(server: str, up: Callable[..., Any]) -> None:
    if sys.platform != "linux":
        pytest.skip("only Linux shows the environment of a process")
    it = up(None, environment={**os.environ, **ALL, **OF_TEMPORAL, "GODEBUG": "x", "LD_AUDIT": "", "MALLOC_X": "1"})
    it.addresses()
    (found,) = [p for p in it.processes() if p.name() == server and p.cmdline()[1:2] in (["server"], ["-D"])]
    handed_on = {"PATH", "TMPDIR", "LD_LIBRARY_PATH", "LC_ALL", "TZ", "USER", "HOME", "GOGC"}
    of_postgres = {"PGDATA", "PG_GRANDPARENT_PID"}
    assert set(found.environ()) <= handed_on | of_postgres
