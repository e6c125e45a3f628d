"""Bad input or missing servers: a command says in one line what to do, and leaves no trace."""

from __future__ import annotations

import asyncio
import json
import resource
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import make_url
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from order_lifecycle.cli import calls, report
from order_lifecycle.cli.app import COMMANDS
from order_lifecycle.client import workflow_id
from order_lifecycle.db.store import Store, connect
from order_lifecycle.domain import parse_order
from order_lifecycle.settings import Addresses
from order_lifecycle.stack.migrate import migrate
from tests.support.command_line import Answer, command

Command = Callable[..., Answer]

ITEM: dict[str, Any] = {"name": "apple", "qty": 1, "price": 5}
ADDRESS = {"address": "575 Lake Dr.", "city": "Columbus", "state": "OH", "zipcode": "43210"}
GOOD = {"id": "bad", "payment": "p-bad", "items": json.dumps([ITEM]), "address": json.dumps(ADDRESS)}


def items(**changes: Any) -> dict[str, str]:
    return {"items": json.dumps([ITEM | changes])}


BAD = [
    ({"items": "[{"}, "items: not JSON"),
    ({"items": "[]"}, "items: an order has 1 to 100 items, not 0"),
    ({"items": "{}"}, "items: "),
    (items(qty=-1), "items[0].qty: "),
    (items(qty=1.5), "items[0].qty: "),
    (items(price=5.001), "items[0].price: "),
    (items(price=-5), "items[0].price: "),
    (items(colour="red"), "items[0].colour: "),
    ({"items": '[{"name": "apple", "qty": 1}]'}, "items[0].price: "),
    ({"items": '[{"name": "apple", "qty": 1, "price": NaN}]'}, "items: not JSON: NaN is not a number"),
    ({"address": "Columbus"}, "address: not JSON"),
    ({"address": "{}"}, "address.address: "),
    ({"address": json.dumps(ADDRESS | {"planet": "Mars"})}, "address.planet: "),
    ({"id": "x" * 500}, "id: "),
    ({"id": "a b"}, "id: "),
    ({"payment": ""}, "payment_id: "),
]


@pytest.fixture
def servers(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Use the real servers with an empty database and no worker."""
    for name in ("TEMPORAL_HOST", "DATABASE_URL"):
        monkeypatch.setenv(name, environment[name])


@pytest.mark.usefixtures("servers")
def test_bad_input_is_refused_in_one_line(inside: Command, stack: Addresses, database_url: str) -> None:
    for change, names_the_field in BAD:
        given = GOOD | change
        order = "start", given["id"], given["payment"], "--items", given["items"], "--address", given["address"]
        assert inside(*order).refuses(names_the_field, status=2)
    asyncio.run(nothing_at_temporal(stack, {(GOOD | change)["id"] for change, _ in BAD}))
    engine = connect(database_url)
    assert [Store(engine).rows(table) for table in ("orders", "payments", "events")] == [[], [], []]
    engine.dispose()


async def nothing_at_temporal(stack: Addresses, order_ids: set[str]) -> None:
    client = await Client.connect(stack.temporal_host)
    for order_id in order_ids:
        with pytest.raises(RPCError) as refused:
            await client.get_workflow_handle(workflow_id(order_id)).describe()
        assert refused.value.status is RPCStatusCode.NOT_FOUND


@pytest.mark.parametrize(
    "arguments",
    [
        ["approve", "x" * 500],
        ["cancel", "a/b"],
        ["status", ""],
        ["update-address", "abc-001", "--address", "[]"],
        ["up", "--ephemeral", "--home", "somewhere"],
    ],
)
def test_bad_input_of_the_other_commands_is_refused(inside: Command, arguments: list[str]) -> None:
    assert inside(*arguments).refuses("", status=2)


@pytest.mark.parametrize("arguments", [["start"], ["no-such-command"], ["status", "--no-such-option"], ["worker", "x"]])
def test_bad_usage_shows_the_usage(inside: Command, arguments: list[str]) -> None:
    answer = inside(*arguments)
    assert (answer.status, answer.out) == (2, "")
    assert "Usage:" in answer.err


@pytest.mark.parametrize("name", [None, *COMMANDS])
def test_every_command_has_help(inside: Command, name: str | None) -> None:
    told = inside(*([name] if name else []), "--help")
    assert told.says("Usage: order-lifecycle")
    assert "--help" in told.out


@pytest.mark.usefixtures("servers")
def test_commands_without_a_worker_say_so(inside: Command, stack: Addresses, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "QUERY_TIMEOUT", timedelta(seconds=1))
    order = "start", "alone", "p-alone", "--items", GOOD["items"], "--address", GOOD["address"]
    assert inside(*order).says("started order alone")
    with monkeypatch.context() as impatient:
        impatient.setattr(calls, "ANSWER_TIMEOUT", timedelta(seconds=3))
        assert inside("approve", "alone").refuses("is a worker running? `order-lifecycle worker all` starts both")
    assert inside("status", "alone").says("no worker answered")
    asyncio.run(terminate(stack, "alone"))


def test_an_unknown_order_is_not_reported_as_ended(inside: Command, servers: None) -> None:
    """The server's answer names the workflow, and that name must not be mistaken for its status."""
    assert inside("approve", "completed-1").refuses("there is no order completed-1: `order-lifecycle list` shows")
    assert inside("status", "namespace-1").refuses("there is no order namespace-1: `order-lifecycle list` shows")


@pytest.mark.proof
def test_worker_all_exits_with_the_status_for_bad_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker that fails first ends the other one, which may still be starting."""
    monkeypatch.setenv("FAULTS_ALWAYS_FAIL", "dispatch_carier")
    assert command("worker", "all").status == 2


async def terminate(stack: Addresses, order_id: str) -> None:
    """Terminate the order, so that the workers of another test do not take it."""
    await (await Client.connect(stack.temporal_host)).get_workflow_handle(workflow_id(order_id)).terminate()


@pytest.mark.parametrize(
    "arguments",
    [["status", "abc-001"], ["approve", "abc-001"], ["list"], ["tables"]],
)
def test_commands_without_servers_say_how_to_start_them(inside: Command, arguments: list[str]) -> None:
    assert inside(*arguments).refuses("Start one with `order-lifecycle up`")


def test_servers_that_do_not_answer_are_named(inside: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEMPORAL_HOST", "127.0.0.1:1")
    monkeypatch.setenv("DATABASE_URL", "postgresql://orders:a-password@127.0.0.1:1/orders")
    assert inside("status", "abc-001").refuses("no Temporal server answers at 127.0.0.1:1")
    told = inside("doctor")
    assert told.status == 1
    assert "MISSING  Temporal: no Temporal server answers at 127.0.0.1:1" in told.out
    assert "MISSING  PostgreSQL: " in told.out
    tables = inside("tables")
    assert tables.status == 1
    assert "PostgreSQL at 127.0.0.1:1 refuses the connection" in tables.err
    assert "a-password" not in told.out + told.err + tables.err


def test_doctor_names_each_missing_server(inside: Command) -> None:
    told = inside("doctor")
    assert told.status == 1
    assert "MISSING  PostgreSQL: no database: DATABASE_URL is not set" in told.out
    assert "MISSING  Temporal: no Temporal server: TEMPORAL_HOST is not set" in told.out
    assert "Traceback" not in told.err


def test_a_database_without_tables_is_named(
    inside: Command, bare_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", bare_database_url)
    assert "has no tables for orders yet: run `alembic upgrade head`" in inside("tables").err
    assert "has no tables for orders yet: run `alembic upgrade head`" in inside("doctor").out


def test_a_downgraded_schema_is_named(inside: Command, bare_database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    migrate(bare_database_url)
    monkeypatch.setenv("DATABASE_URL", bare_database_url)
    assert "ok       PostgreSQL: " in inside("doctor").out
    engine = connect(bare_database_url)
    with engine.begin() as tx:
        tx.exec_driver_sql("DELETE FROM alembic_version")  # as the last `alembic downgrade` does
    engine.dispose()
    told = inside("doctor").out
    assert "MISSING  PostgreSQL" in told
    assert "has no tables for orders yet: run `alembic upgrade head`" in told


@pytest.fixture
def stranger(admin_url: str, database_url: str) -> Iterator[str]:
    """Return the address of the database for a user who may not read it."""
    server = connect(admin_url)
    name = f"stranger_{uuid.uuid4().hex}"
    with server.begin() as tx:
        tx.exec_driver_sql(f"CREATE ROLE {name} LOGIN PASSWORD 'a-password'")
    yield make_url(database_url).set(username=name, password="a-password").render_as_string(hide_password=False)
    with server.begin() as tx:
        tx.exec_driver_sql(f"DROP ROLE {name}")
    server.dispose()


def test_a_missing_permission_is_named(inside: Command, stranger: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", stranger)
    assert "refused: permission denied for table orders" in inside("tables").err
    assert "refused: permission denied for table alembic_version" in inside("doctor").out


@pytest.mark.usefixtures("servers")
def test_doctor_checks_the_rest_where_the_namespace_is_wrong(inside: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEMPORAL_NAMESPACE", "nowhere")
    told = inside("doctor")
    assert told.status == 1
    for found in ("ok       Python: ", "ok       PostgreSQL: ", "ok       Temporal: "):
        assert found in told.out
    for kind in ("order", "shipping"):
        assert f"MISSING  {kind} worker: Temporal refused: Namespace nowhere is not found" in told.out


@pytest.mark.usefixtures("servers")
def test_doctor_names_missing_search_attributes(
    inside: Command, stack: Addresses, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "search attributes" not in inside("doctor").out  # which are there
    monkeypatch.setenv("TEMPORAL_NAMESPACE", namespace := f"bare-{uuid.uuid4().hex}")
    asyncio.run(register(stack, namespace))
    told = inside("doctor")
    assert "MISSING  search attributes: no OrderState and no OrderTotal" in told.out
    for attribute in ("--name OrderState --type Keyword", "--name OrderTotal --type Double"):
        assert f"`temporal operator search-attribute create --namespace {namespace} {attribute}`" in told.out


async def register(stack: Addresses, namespace: str) -> None:
    request = RegisterNamespaceRequest(namespace=namespace)
    request.workflow_execution_retention_period.FromTimedelta(timedelta(days=1))
    await (await Client.connect(stack.temporal_host)).workflow_service.register_namespace(request)


@pytest.mark.usefixtures("servers")
def test_doctor_checks_the_rest_where_temporals_own_settings_are_wrong(
    inside: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEMPORAL_TLS_CLIENT_CERT_PATH", "/no/such/file")
    told = inside("doctor")
    assert "ok       PostgreSQL: " in told.out
    assert "MISSING  Temporal: Temporal's own settings" in told.out


@pytest.mark.parametrize(
    ("variable", "value", "why"),
    [
        ("TEMPORAL_HOST", "127.0.0.1:1", "no Temporal server answers at 127.0.0.1:1"),
        ("TEMPORAL_NAMESPACE", "nowhere", "Namespace nowhere is not found"),
        ("TEMPORAL_TLS_CLIENT_CERT_PATH", "/no/such/file", "Temporal's own settings"),
    ],
)
@pytest.mark.usefixtures("servers")
def test_audit_without_temporal_still_checks_the_database(
    inside: Command, owner_url: str, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, why: str
) -> None:
    monkeypatch.setenv(variable, value)
    engine = connect(owner_url)
    Store(engine).receive(parse_order("odd", "p-odd", GOOD["items"], GOOD["address"]), "no-run")
    with engine.begin() as tx:
        tx.exec_driver_sql("ALTER TABLE events DISABLE TRIGGER USER")
        tx.exec_driver_sql("DELETE FROM events")
    engine.dispose()
    told = inside("audit")
    assert told.status == 1
    assert "order odd, 4: no order_received" in told.out
    assert "violations of 6" in told.out
    assert "violations of 7" not in told.out
    unchecked = "invariant 7 (Temporal's view of an order and its row agree) could not be checked: "
    assert told.err.startswith(unchecked)
    assert why in told.err
    assert told.err.count("\n") == 1
    told = inside("audit", "--json")
    assert told.status == 1
    answer = json.loads(told.out)
    assert [violation["order_id"] for violation in answer["violations"]] == ["odd"]
    assert why in answer["not_asked"]["7"]


def test_two_workers_cannot_serve_their_metrics_at_one_address(
    inside: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("METRICS_ADDRESS", "127.0.0.1:9464")
    assert inside("worker", "all").refuses("each with a METRICS_ADDRESS of its own", status=2)


@pytest.mark.proof
def test_a_demo_whose_servers_do_not_start_says_why() -> None:
    """The servers may not write a file of more than 256 KiB, as on a full disk."""
    told = command("demo", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2**18, 2**18)))
    assert told.status == 1
    assert told.err.startswith("waited for the stack to be ready: it ended with exit status 1, and last said:\n")
    assert "Traceback" not in told.err
