"""What a notebook's servers read from the environment, write to it, and hide."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest
from sqlalchemy import make_url

from order_lifecycle.cli.demo import demo
from order_lifecycle.db.store import Store, connect
from order_lifecycle.lab import servers, start_worker, up
from order_lifecycle.lab.process import LabProcess
from order_lifecycle.lab.servers import LabServers, running_servers
from order_lifecycle.stack.child_servers import ADDRESSES
from tests.support import measured
from tests.support.harmful_environment import (
    HARMFUL,
    OF_DEBUGGING,
    OF_PYTHON,
    can_connect,
    shadow_the_standard_library,
)


def test_workers_get_only_the_address_of_the_application_role(lab_servers: LabServers) -> None:
    """A notebook has both addresses, for `alembic` in a cell. Its workers have only one."""
    assert os.environ["DATABASE_OWNER_URL"] == lab_servers.database_owner_url
    worker = start_worker("order")
    theirs = psutil.Process(worker.pid).environ()
    password = make_url(lab_servers.database_owner_url or "").password
    assert password
    assert [name for name, value in theirs.items() if password in value] == []
    assert theirs["DATABASE_URL"] == lab_servers.database_url
    worker.stop()


async def test_a_demo_in_a_notebook_does_not_change_its_servers(
    lab_servers: LabServers, capsys: pytest.CaptureFixture[str]
) -> None:
    """A cell runs `%run -m order_lifecycle demo`."""
    before, folder = dict(os.environ), os.getcwd()
    await demo(lambda title, rows: print(title, len(rows)))
    assert "orders 1" in capsys.readouterr().out
    assert running_servers() is lab_servers
    assert lab_servers.alive
    assert (dict(os.environ), os.getcwd()) == (before, folder)
    engine = connect(lab_servers.database_url)
    assert Store(engine).rows("orders") == []
    engine.dispose()


@pytest.mark.proof
def test_a_notebook_works_beside_a_file_random_py(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(measured.START, raising=False)  # coverage would import random.py, before ours can prevent it
    harmful = HARMFUL | OF_PYTHON | OF_DEBUGGING
    for name in [*ADDRESSES, *harmful]:  # the addresses, because lab.up() sets them
        monkeypatch.setenv(name, harmful.get(name, ""))
    monkeypatch.setattr(servers, "_servers", None)
    shadow_the_standard_library(tmp_path)
    monkeypatch.chdir(tmp_path)
    lab_servers = up()
    can_connect(lab_servers.database_url)
    with connect(os.environ["DATABASE_URL"]).connect():
        start_worker("shipping").stop()
    lab_servers.process.stop()


def test_the_servers_never_show_a_password(tmp_path: Path) -> None:
    address = "postgresql://me:a-secret@localhost/orders"
    process = LabProcess("nothing", ["this"])
    shown = LabServers(
        temporal_host="h:1",
        ui_url=None,
        database_url=address,
        home=str(tmp_path),
        process=process,
        previous_environment={"DATABASE_URL": address},
        external=False,
    )
    process.kill()
    assert "a-secret" not in f"{shown} {shown!r} {shown!s} {[shown]}"
