"""Whatever goes wrong, the password is in no output, log, traceback, history or notebook.

The tests use a password that is easy to recognise. Only `order-lifecycle up --json` shows it, so that a program can
connect; tests/stack/test_stack_ports.py shows that output for people masks it. tests/db/test_connect.py has the errors
of connections.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import URL, Engine, NullPool, create_engine, make_url, text
from temporalio.client import Client, WorkflowHandle

from order_lifecycle.cli.app import main
from order_lifecycle.client import connect, start_order
from order_lifecycle.db.url import without_secrets
from order_lifecycle.domain import BadInputError, OrderState, Policy
from order_lifecycle.settings import Addresses, Settings
from order_lifecycle.stack.child_process import ChildProcess
from order_lifecycle.workers.start import wait_until_ready, worker_command
from order_lifecycle.workflows.order import OrderWorkflow
from tests.support.orders import an_order
from tests.support.repeats import everyday

TOP = Path(__file__).parents[2]
PASSWORD = "do-not-tell-anybody"


@pytest.fixture
def admin(admin_url: str) -> Iterator[Engine]:
    engine = create_engine(admin_url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    yield engine
    engine.dispose()


@pytest.fixture
def url(admin: Engine, database_url: str) -> Iterator[URL]:
    """Return the address of the test's database for a user with that password."""
    # Constants: a statement that makes a user takes no parameters.
    with admin.connect() as connection:
        connection.execute(text("CREATE ROLE teller LOGIN PASSWORD 'do-not-tell-anybody'"))
        connection.execute(text("GRANT pg_read_all_data, pg_write_all_data TO teller"))
    yield make_url(database_url).set(username="teller", password=PASSWORD)
    with admin.connect() as connection:
        connection.execute(text("DROP ROLE teller"))


def whole(url: URL) -> str:
    return url.render_as_string(hide_password=False)


# --- the command line ------------------------------------------------------------------------------------------------

COMMANDS = [["doctor"], ["doctor", "--json"], ["status", "abc-001"], ["tables"], ["audit"], ["up", "--ephemeral"]]
WRONG: dict[str, dict[str, Any]] = {
    "nobody listens": {"port": 1},
    "no such host": {"host": "no-such-host.invalid"},
    "another password": {"password": f"{PASSWORD}-but-another"},
    "no such user": {"username": "nobody"},
    "no such database": {"database": "nothing"},
    "no such option": {"query": {"no_such_option": "1"}},
    "a password as an option": {"query": {"Password": PASSWORD}},
    "the password of a key": {"port": 1, "query": {"sslpassword": PASSWORD, "sslmode": "prefer"}},
    "a file of passwords": {"port": 1, "query": {"passfile": f"/{PASSWORD}"}},
    "options": {"port": 1, "query": {"options": f"-c my.secret={PASSWORD}"}},
    "an option that is a part of the password": {"query": {PASSWORD: "1"}},
    "right": {},
}


@pytest.mark.parametrize("wrong", WRONG)
def test_no_command_shows_the_password(
    wrong: str, url: URL, stack: Addresses, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", whole(url.set(**WRONG[wrong])))
    monkeypatch.setenv("TEMPORAL_HOST", stack.temporal_host)
    for arguments in COMMANDS:
        monkeypatch.setattr(sys, "argv", ["order-lifecycle", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        told = "".join(capfd.readouterr())
        assert told
        assert PASSWORD not in told + "".join(traceback.format_exception(end.value))


SPELLINGS = [
    f"?password={PASSWORD}",
    f"?Password={PASSWORD}",
    f"?PASSWORD={PASSWORD}",
    f"?%70assword={PASSWORD}",
    f"?sslmode=prefer&password={PASSWORD}",
    f"?sslpassword={PASSWORD}",
    f"?SSLPASSWORD={PASSWORD}",
    f"?passfile={PASSWORD}",
    f"?sslkey={PASSWORD}",
    f"?oauth_client_secret={PASSWORD}",
    f"?options=-cmy.secret%3D{PASSWORD}",
    f"?{PASSWORD}=1",
    f"?{PASSWORD}",
    f"?sslmode=prefer&{PASSWORD}=",
    f"#{PASSWORD}",
]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_no_spelling_of_an_option_shows_the_password(spelling: str) -> None:
    """The address is refused without being quoted, or the option is left out where the address is shown."""
    address = f"postgresql://me:{PASSWORD}@localhost/orders{spelling}"
    try:
        settings = Settings(database_url=SecretStr(address))
        shown = without_secrets(settings.database_url.get_secret_value()) if settings.database_url else ""
        assert shown.startswith("postgresql://me:***@localhost/orders")
    except BadInputError as error:
        shown = str(error)
    assert PASSWORD not in shown


def test_a_harmless_option_of_the_address_is_shown() -> None:
    assert without_secrets(f"postgresql://me:{PASSWORD}@localhost/orders?sslmode=require&sslkey=x") == (
        "postgresql://me:***@localhost/orders?sslmode=require"
    )


def test_one_function_shows_all_addresses() -> None:
    """Any other way to show an address would show its options, which may hold a password."""
    other_ways = re.compile(r"engine\.url[!}]|\{\w*url!r\}|hide_password=True")
    files = [*(TOP / "order_lifecycle").rglob("*.py"), *(TOP / "migrations").rglob("*.py")]
    found = {str(file.relative_to(TOP)) for file in files if other_ways.search(file.read_text())}
    assert found == {"order_lifecycle/db/url.py"}


KEYS: dict[str, dict[bytes, bytes]] = {
    "no UTF-8": {b"TEMPORAL_API_KEY": PASSWORD.encode() + b"\xff"},
    "a line break": {b"TEMPORAL_API_KEY": PASSWORD.encode() + b"\nmore"},
    "a line break at the end": {b"TEMPORAL_API_KEY": PASSWORD.encode() + b"\n"},
    "not ASCII": {b"TEMPORAL_API_KEY": PASSWORD.encode() + "é".encode()},
    "too long": {b"TEMPORAL_API_KEY": PASSWORD.encode() * 1000},
    "a header, no UTF-8": {b"TEMPORAL_GRPC_META_AUTHORIZATION": PASSWORD.encode() + b"\xff"},
    "a header with a line break": {b"TEMPORAL_GRPC_META_AUTHORIZATION": PASSWORD.encode() + b"\n"},
    "a certificate, no UTF-8": {b"TEMPORAL_TLS_CLIENT_KEY_DATA": PASSWORD.encode() + b"\xff"},
}


@pytest.mark.parametrize("wrong", everyday("no UTF-8", "a line break", "a header, no UTF-8", of=KEYS))
@pytest.mark.parametrize(
    "arguments",
    everyday(["status", "abc-001"], of=[["status", "abc-001"], ["worker", "order"]]),
    ids=["status", "worker"],
)
def test_a_secret_that_cannot_be_sent_is_named_and_not_shown(
    wrong: str, arguments: list[str], environment: dict[str, str]
) -> None:
    theirs = {os.fsencode(name): os.fsencode(value) for name, value in environment.items()} | KEYS[wrong]
    command = [sys.executable, "-m", "order_lifecycle", *arguments]
    answer = subprocess.run(command, env=theirs, capture_output=True, timeout=60)
    told = answer.stdout + answer.stderr
    assert answer.returncode == 2, told
    assert next(iter(KEYS[wrong])) in told
    assert PASSWORD.encode() not in told
    assert b"Traceback" not in told


# --- workers, whose database goes away and comes back ----------------------------------------------------------------


@contextmanager
def gone(admin: Engine, database: str | None) -> Iterator[None]:
    """Refuse all connections to the database meanwhile."""
    allow = text("UPDATE pg_database SET datallowconn = :yes WHERE datname = :name")
    cut = text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name")
    with admin.connect() as connection:
        connection.execute(allow, {"yes": False, "name": database})
        connection.execute(cut, {"name": database})
    try:
        yield
    finally:
        with admin.connect() as connection:
            connection.execute(allow, {"yes": True, "name": database})


@contextmanager
def renamed(owner_url: str) -> Iterator[None]:
    """Rename the table of the events meanwhile, so that statements fail."""
    engine = create_engine(owner_url, poolclass=NullPool)
    with engine.begin() as tx:
        tx.execute(text("ALTER TABLE events RENAME TO no_events"))
    try:
        yield
    finally:
        with engine.begin() as tx:
            tx.execute(text("ALTER TABLE no_events RENAME TO events"))


async def until_said(words: str, workers: list[ChildProcess], handle: WorkflowHandle[Any, Any]) -> str:
    """Return what the server reports of failed attempts, once a worker has logged these words."""
    told = ""
    async with asyncio.timeout(20):
        while True:
            told += str([one.last_failure for one in (await handle.describe()).raw_description.pending_activities])
            if any(words in log(worker) for worker in workers):
                return told
            await asyncio.sleep(0.1)  # between two looks


def log(worker: ChildProcess) -> str:
    return worker.tail(1_000_000)


async def everything(client: Client, handle: WorkflowHandle[Any, Any]) -> str:
    """Return everything that the server keeps of an order and its children."""
    history = await handle.fetch_history()
    told = str(history.events) + str((await handle.describe()).raw_description)
    for event in history.events:
        if event.HasField("child_workflow_execution_started_event_attributes"):
            child = event.child_workflow_execution_started_event_attributes.workflow_execution.workflow_id
            told += await everything(client, client.get_workflow_handle(child))
    return told


@pytest.mark.parametrize("log_json", everyday("true", of=["false", "true"]))
async def test_no_worker_and_no_history_shows_the_password(
    log_json: str, url: URL, admin: Engine, owner_url: str, settings: Settings
) -> None:
    client = await connect(settings)
    environment = {"DATABASE_URL": whole(url), "TEMPORAL_HOST": settings.temporal_host or "", "LOG_JSON": log_json}
    workers = [ChildProcess(f"{kind} worker", worker_command(kind), environment) for kind in ("order", "shipping")]
    for worker in workers:
        await asyncio.to_thread(wait_until_ready, worker)
    order = an_order(f"tells-{log_json}")
    # One within the other: between them the order would go on, and wait for its review with nothing left to fail.
    with renamed(owner_url):
        with gone(admin, url.database):
            handle = await start_order(client, order, Policy())
            told = await until_said("not currently accepting connections", workers, handle)
        told += await until_said("has no tables for orders yet", workers, handle)
    await handle.signal(OrderWorkflow.approve_order)
    assert (await handle.result()).state is OrderState.SHIPPED
    for worker in workers:
        worker.stop()
    logs = "".join(log(worker) for worker in workers)
    told += await everything(client, handle)
    assert "OrderWorkflow" in told
    assert PASSWORD not in logs
    assert PASSWORD not in told


# What a worker logs of an error that nobody expected, raised where the password is at hand.
FAILING = """
import logging, sys
from order_lifecycle import logs

def connect(database_url):
    raise LookupError("something else went wrong")

logs.configure(as_json=sys.argv[1] == "true")
try:
    connect("postgresql://me:" + sys.stdin.read() + "@localhost/orders")
except LookupError:
    logging.getLogger("worker").exception("unexpected")
"""


@pytest.mark.parametrize("log_json", everyday("true", of=["false", "true"]))
def test_a_traceback_in_a_log_shows_no_variables(log_json: str) -> None:
    told = subprocess.run(
        [sys.executable, "-c", FAILING, log_json], input=PASSWORD, capture_output=True, text=True, check=True
    ).stderr
    assert "something else went wrong" in told
    assert PASSWORD not in told


# --- what a cell or a debugger shows ---------------------------------------------------------------------------------


def test_no_object_shows_the_password(tmp_path: Path) -> None:
    address = f"postgresql://me:{PASSWORD}@localhost/orders"
    addresses = Addresses(temporal_host="h:1", ui_url=None, database_url=address, home=str(tmp_path))
    settings = Settings(database_url=SecretStr(address))
    for shown in (addresses, settings, settings.resolved(), [addresses], {"addresses": addresses}):
        assert PASSWORD not in f"{shown} {shown!r} {shown!s}"
    assert PASSWORD not in settings.model_dump_json()
    assert json.loads(addresses.model_dump_json())["database_url"] == address  # as `up --json` tells it


def test_no_saved_notebook_shows_a_password() -> None:
    with_a_password = re.compile(r"postgres\w*(\+\w+)?://[^\s:@/]+:(?!(\*\*\*|password)@)[^\s@]+@")
    assert with_a_password.search(f"'postgresql+psycopg2://orders:{PASSWORD}@127.0.0.1:5434/orders'")
    notebooks = sorted((TOP / "notebooks").glob("*.ipynb"))
    assert notebooks
    assert [path.name for path in notebooks if with_a_password.search(path.read_text())] == []
