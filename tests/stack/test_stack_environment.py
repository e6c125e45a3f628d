"""What its user has set for others, or left beside a notebook, changes nothing that we start."""

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
from sqlalchemy import make_url

import order_lifecycle
from order_lifecycle.db.errors import why_unusable
from order_lifecycle.db.store import connect
from order_lifecycle.lab import servers, start_worker
from order_lifecycle.lab import up as lab_up
from order_lifecycle.lab.waiting import LabError
from order_lifecycle.settings import Addresses, Settings
from order_lifecycle.stack.errors import StackError
from order_lifecycle.stack.stack import Stack

# Each breaks a connection by libpq 17 to a server without TLS whose URL names host, port, user, password and database.
HARMFUL = {
    "PGSSLMODE": "require",
    "PGSERVICE": "no-such-service",
    "PGHOSTADDR": "192.0.2.1",
    "PGTARGETSESSIONATTRS": "standby",
    "PGCHANNELBINDING": "require",
    "PGGSSENCMODE": "require",
    "PGREQUIREAUTH": "none",
    "PGSSLNEGOTIATION": "direct",
    "PGOPTIONS": "-c no_such_option=1",
    "PGCLIENTENCODING": "no-such-encoding",
    "PGDATESTYLE": "no-such-style",
    "PGTZ": "no-such-zone",
    "PGGEQO": "no-such-value",
    "PGLOADBALANCEHOSTS": "no-such-way",
    "PGSSLMINPROTOCOLVERSION": "no-such-version",
    "PGSSLMAXPROTOCOLVERSION": "no-such-version",
    "PGSSLCERTMODE": "no-such-mode",
    "PGCONNECT_TIMEOUT": "no-such-number",
}
# The rest of those that libpq's documentation names, and some that it does not.
ALL = HARMFUL | {
    "PGMINPROTOCOLVERSION": "no-such-version",
    "PGMAXPROTOCOLVERSION": "no-such-version",
    "PGHOST": "192.0.2.1",
    "PGPORT": "1",
    "PGDATABASE": "no-such-database",
    "PGUSER": "nobody",
    "PGPASSWORD": "wrong",
    "PGPASSFILE": "/no/such/file",
    "PGSERVICEFILE": "/no/such/file",
    "PGSYSCONFDIR": "/no/such/folder",
    "PGLOCALEDIR": "/no/such/folder",
    "PGAPPNAME": "another",
    "PGREQUIRESSL": "1",
    "PGSSLCOMPRESSION": "1",
    "PGSSLCERT": "/no/such/file",
    "PGSSLKEY": "/no/such/file",
    "PGSSLROOTCERT": "/no/such/file",
    "PGSSLCRL": "/no/such/file",
    "PGSSLCRLDIR": "/no/such/folder",
    "PGSSLSNI": "0",
    "PGREQUIREPEER": "nobody",
    "PGKRBSRVNAME": "nothing",
    "PGGSSLIB": "gssapi",
    "PGGSSDELEGATION": "1",
    "PGOAUTHDEBUG": "UNSAFE",
    "PGTTY": "/dev/null",
    "PGDATA": "/no/such/folder",
    "PGSOMETHINGNEW": "1",
}
OF_TEMPORAL = {
    "TEMPORAL_CONFIG_FILE": "/no/such/temporal.toml",
    "TEMPORAL_PROFILE": "no-such-profile",
    "TEMPORAL_NAMESPACE": "no-such-namespace",
    "TEMPORAL_ADDRESS": "192.0.2.1:7233",
    "TEMPORAL_API_KEY": "a-key",
    "TEMPORAL_TLS": "true",
    "TEMPORAL_TLS_CLIENT_CERT_PATH": "/no/such/file",
    "TEMPORAL_CODEC_ENDPOINT": "http://192.0.2.1/",
}
OF_PYTHON = {
    "PYTHONOPTIMIZE": "2",
    "PYTHONIOENCODING": "ascii",
    "PYTHONUTF8": "0",
    "PYTHONSTARTUP": "/no/such/file",
    "PYTHONUSERBASE": "/no/such/folder",
    "PYTHONPYCACHEPREFIX": "/no/such/folder",
}
# They change the command that their user starts, as they are meant to, but not what it starts.
OF_DEBUGGING = {
    "PYTHONINSPECT": "1",
    "PYTHONPROFILEIMPORTTIME": "1",
    "PYTHONDEVMODE": "1",
    "PYTHONVERBOSE": "1",
    "PYTHONHASHSEED": "no-such-number",
    "PYTHONHOME": "/no/such/folder",
}
# Modules of the standard library that nothing has imported before our first line runs.
SHADOWS = ("random", "json", "logging", "secrets", "queue", "tempfile", "socket", "email", "decimal", "asyncio")


@pytest.fixture
def of_a_learner(tmp_path: Path) -> Path:
    """A folder with files that are called as modules of the standard library are."""
    folder = tmp_path / "of a learner"
    folder.mkdir()
    for name in SHADOWS:
        (folder / f"{name}.py").write_text(f"print('this is not the {name} that you look for')\n1 / 0\n")
    return folder


def can_connect(database_url: str) -> None:
    url = make_url(database_url)
    psycopg2.connect(
        host=url.host, port=url.port, user=url.username, password=url.password, dbname=url.database
    ).close()


@pytest.mark.parametrize("name", ALL)
def test_no_variable_of_libpq_reaches_a_stack_that_runs(
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


def test_they_do_reach_a_server_of_somebody_else_and_an_error_names_them(
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


def test_nothing_that_is_set_and_no_file_in_the_folder_changes_a_demo(of_a_learner: Path, tmp_path: Path) -> None:
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


@pytest.mark.proof
def test_a_notebook_beside_a_file_random_py(of_a_learner: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    harmful = HARMFUL | OF_PYTHON | OF_DEBUGGING
    for name in [*servers.ADDRESSES, *harmful]:  # the addresses, because lab.up() sets them
        monkeypatch.setenv(name, harmful.get(name, ""))
    monkeypatch.setattr(servers, "_servers", None)
    monkeypatch.chdir(of_a_learner)
    lab_servers = lab_up()
    can_connect(lab_servers.database_url)
    with connect(os.environ["DATABASE_URL"]).connect():
        start_worker("shipping").stop()
    lab_servers.process.stop()


def test_the_message_shows_what_was_read_in_place_of_the_addresses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    talks = tmp_path / "python"
    talks.write_text(f'#!/bin/sh\necho "Welcome to this Python!"\nexec "{sys.executable}" "$@"\n')
    talks.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(talks))
    monkeypatch.setattr(servers, "_servers", None)
    with pytest.raises(LabError, match="the first line was 'Welcome to this Python!'"):
        lab_up()


WHERE = "import order_lifecycle, random, beside; print(order_lifecycle.__file__, random.__file__, beside.__file__)"
STARTS_IT = (
    "import subprocess; from order_lifecycle.isolated import command; subprocess.run(command('order_lifecycle.where'))"
)


def test_a_checkout_on_the_python_path_starts_its_own_modules(of_a_learner: Path, tmp_path: Path) -> None:
    """And finds what is only there, as the packages of somebody who installs none."""
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
def test_a_server_is_handed_nothing_that_its_user_has_set(server: str, up: Callable[..., Any]) -> None:
    if sys.platform != "linux":
        pytest.skip("only Linux shows the environment of a process")
    it = up(None, environment={**os.environ, **ALL, **OF_TEMPORAL, "GODEBUG": "x", "LD_AUDIT": "", "MALLOC_X": "1"})
    it.addresses()
    (found,) = [p for p in it.processes() if p.name() == server and p.cmdline()[1:2] in (["server"], ["-D"])]
    handed_on = {"PATH", "TMPDIR", "LD_LIBRARY_PATH", "LC_ALL", "TZ", "USER", "HOME", "GOGC"}
    of_postgres = {"PGDATA", "PG_GRANDPARENT_PID"}
    assert set(found.environ()) <= handed_on | of_postgres
