"""What commands write to a terminal of any width, a pipe, and a standard output that is full, closed or not UTF-8."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Callable

import pytest
from sqlalchemy.engine import make_url

from order_lifecycle.client import connect as connect_to_temporal
from order_lifecycle.db.store import Store, connect
from order_lifecycle.domain import parse_order
from order_lifecycle.settings import Settings
from tests.support.command_line import Answer, command
from tests.support.repeats import everyday
from tests.support.waiting import wait_until

Command = Callable[..., Answer]

LONG = "c9a0ad59-0b3f-4a9e-9d3e-0d6a3f6b3a11"
ITEMS = '[{"name":"苹果 \u202eelppa","qty":3,"price":43333.00}]'
TOKYO = '{"address":"千代田区千代田1-1","city":"東京","state":"東京都","zipcode":"100-8111"}'
COMMAND = [sys.executable, "-m", "order_lifecycle"]


@pytest.fixture
def rows(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fill a database with one charged order."""
    engine = connect(database_url)
    store = Store(engine)
    order = parse_order(LONG, f"pay-{LONG}", ITEMS, TOKYO)
    store.receive(order, "a-run")
    store.validate(order)
    store.advance(order.id, "order_approved")  # type: ignore[arg-type]
    store.charge(order.id, order.payment_id)
    engine.dispose()
    monkeypatch.setenv("DATABASE_URL", database_url)


def in_terminal(columns: int, *arguments: str) -> str:
    """Return what a command writes to a terminal of that width."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    running = subprocess.Popen([*COMMAND, *arguments], stdout=its, stderr=its, env=environment, close_fds=True)
    os.close(its)
    said = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # it has ended
            break
        if not part:
            break
        said += part
    os.close(ours)
    assert running.wait(30) == 0, said
    return said.decode().replace("\r\n", "\n")


@pytest.mark.usefixtures("rows")
@pytest.mark.parametrize("columns", everyday(80, 200, of=[60, 80, 200]))
def test_tables_in_a_terminal_show_every_digit(columns: int) -> None:
    shown = in_terminal(columns, "tables", LONG)
    for whole in (LONG, f"pay-{LONG}", "129999.00", "charged"):
        assert whole in shown
    assert r"\u202eelppa" in "".join(shown.split())
    assert ("created_at" in shown.partition("payments (1)")[2].splitlines()[1]) == (columns == 200)
    assert "\u202e" not in shown


@pytest.mark.usefixtures("rows")
def test_a_table_is_as_wide_as_the_terminal() -> None:
    assert "(too narrow" not in in_terminal(200, "tables", LONG, "--table", "payments")
    narrow = in_terminal(100, "tables", LONG, "--table", "payments")
    assert max(map(len, narrow.splitlines())) in range(81, 101)


@pytest.mark.usefixtures("rows")
def test_a_pipe_gets_every_column_even_if_columns_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    told = command("tables", LONG, "--table", "payments")
    row = told.out.splitlines()[3].split()
    assert row[:4] == [f"pay-{LONG}", LONG, "charged", "129999.00"]


@pytest.mark.usefixtures("rows")
@pytest.mark.parametrize("encoding", everyday("ascii", of=["ascii", "latin-1"]))
def test_an_output_encoding_without_utf_8_gets_escapes(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    told = command("tables", LONG)
    assert told.says("129999.00")
    assert r"\u5343\u4ee3\u7530\u533a" in told.out
    told = command("tables", LONG, "--json")
    assert told.json()["orders"][0]["address_json"] == json.loads(TOKYO)
    assert told.out.isascii()
    assert command("--help").says("Usage")
    assert command("start", "--help").says("--items")


@pytest.mark.usefixtures("rows")
def test_a_locale_without_utf_8_gets_escapes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}.items():
        monkeypatch.setenv(name, value)
    assert command("tables", LONG).says(r"\u5343")
    assert command("--help").says("Usage")
    assert command("tables", LONG, "--json").json()["orders"][0]["address_json"]["city"] == "東京"


def test_json_escapes_invisible_characters_and_keeps_the_data(rows: None) -> None:
    told = command("tables", LONG, "--json")
    assert "\u202e" not in told.out
    assert told.json()["orders"][0]["items"][0]["name"] == "苹果 \u202eelppa"


def into(target: str, *arguments: str, module: str = "order_lifecycle") -> subprocess.CompletedProcess[str]:
    """Run a command in a shell with its standard output redirected to `target`."""
    return subprocess.run(
        ["sh", "-c", f'"$@" {target}', "sh", sys.executable, "-m", module, *arguments],
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )


FULL = ["> /dev/full", ">&-"]


@pytest.mark.usefixtures("rows")
@pytest.mark.parametrize("target", everyday(FULL[0], of=FULL))
@pytest.mark.parametrize("arguments", [["tables"], ["tables", "--json"], ["doctor"], ["--help"], ["list", "--help"]])
def test_output_that_cannot_be_written_is_an_error(target: str, arguments: list[str]) -> None:
    told = into(target, *arguments)
    assert told.returncode == 1
    assert told.stderr.startswith("standard output cannot be written: ")
    assert told.stderr.count("\n") == 1


@pytest.mark.parametrize("target", everyday(FULL[0], of=FULL))
def test_help_of_a_worker_that_cannot_be_written_is_an_error(target: str) -> None:
    told = into(target, "--help", module="order_lifecycle.workers.order_worker")
    assert told.returncode == 1
    assert told.stderr.startswith("standard output cannot be written: ")
    assert told.stderr.count("\n") == 1


@pytest.mark.usefixtures("in_shop")
@pytest.mark.parametrize("target", everyday(FULL[0], of=FULL))
def test_a_done_request_is_reported_even_if_output_cannot_be_written(inside: Command, target: str) -> None:
    name = f"full-{len(target)}"
    told = into(target, "start", name, f"pay-{name}", "--items", ITEMS, "--address", TOKYO, "--json")
    assert told.returncode == 1
    assert told.stderr.startswith(f"the start was done (started order {name}")
    assert told.stderr.count("\n") == 1
    until_it_waits(inside, name)
    for arguments in (["update-address", name, "--address", TOKYO, "--signal"], ["approve", name]):
        told = into(target, *arguments)
        assert (told.returncode, told.stderr.count("\n")) == (1, 1)
        assert told.stderr.startswith(f"the {arguments[0]} was done (")
        assert ", but standard output cannot be written: " in told.stderr
    assert inside("status", name).status == 0  # it is there


def until_it_waits(inside: Command, name: str) -> None:
    wait_until(
        lambda: inside("status", name, "--json").json()["state"],
        lambda state: state == "awaiting_review",
        what="the review",
        timeout=20,
    )


@pytest.mark.usefixtures("rows")
def test_a_reader_that_stops_reading_causes_no_error() -> None:
    told = into("| head -c 1 > /dev/null", "tables", "--json")
    assert told.stderr == ""


@pytest.mark.usefixtures("in_shop")
@pytest.mark.parametrize("columns", everyday(80, of=[60, 80, 200]))
async def test_a_list_with_a_foreign_order_shows_every_total(columns: int) -> None:
    """Another client started an order with an ID that ours cannot have."""
    client = await connect_to_temporal(Settings())
    foreign = f"order-\x1b[31m\u202e{'x' * 300}-{columns}"
    handle = await client.start_workflow("OrderWorkflow", id=foreign, task_queue="nobody-polls-this")
    order = f"{LONG[:-4]}{columns:04}"
    assert (await run(["start", order, f"pay-{order}", "--items", ITEMS, "--address", TOKYO]))[0] == 0
    shown = wait_until(
        lambda: in_terminal(columns, "list"),
        lambda shown: order in shown and "129999.00" in shown and r"\x1b[31m\u202e" in shown,
        what="both orders in the list, which lags behind",
        timeout=20,
    )
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert "awaiting_review" in shown
    await handle.terminate()


async def run(arguments: list[str]) -> tuple[int, str]:
    told = command(*arguments)
    return told.status, told.out + told.err


def test_a_password_is_never_part_of_a_table(rows: None) -> None:
    url = make_url(os.environ["DATABASE_URL"])
    assert url.password
    assert url.password not in command("doctor").out
