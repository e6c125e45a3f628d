"""Bad input, and nothing there that could answer: one line that says what to do, and no trace anywhere."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from command_line import Answer
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from order_lifecycle import cli, report
from order_lifecycle.client import workflow_id
from order_lifecycle.db.store import Store, connect
from order_lifecycle.settings import Addresses

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
    """The real ones, with an empty database, and no worker."""
    for name in ("TEMPORAL_HOST", "DATABASE_URL"):
        monkeypatch.setenv(name, environment[name])


@pytest.mark.usefixtures("servers")
def test_bad_input(inside: Command, stack: Addresses, database_url: str) -> None:
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
def test_bad_input_of_the_other_commands(inside: Command, arguments: list[str]) -> None:
    assert inside(*arguments).refuses("", status=2)


@pytest.mark.parametrize("arguments", [["start"], ["no-such-command"], ["status", "--no-such-option"], ["worker", "x"]])
def test_bad_usage(inside: Command, arguments: list[str]) -> None:
    answer = inside(*arguments)
    assert (answer.status, answer.out) == (2, "")
    assert "Usage:" in answer.err


@pytest.mark.parametrize("name", [None, *(info.name or info.callback.__name__ for info in cli.app.registered_commands)])
def test_help(inside: Command, name: str | None) -> None:
    told = inside(*([name.replace("_", "-")] if name else []), "--help")
    assert told.says("Usage: order-lifecycle")
    assert "--help" in told.out


@pytest.mark.usefixtures("servers")
def test_no_worker(inside: Command, stack: Addresses, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "ANSWER_WITHIN", timedelta(seconds=3))
    monkeypatch.setattr(report, "QUERY_WITHIN", timedelta(seconds=1))
    order = "start", "alone", "p-alone", "--items", GOOD["items"], "--address", GOOD["address"]
    assert inside(*order).says("started order alone")
    assert inside("approve", "alone").refuses("is a worker running? `order-lifecycle worker all` starts both")
    assert inside("status", "alone").says("no worker answered")
    asyncio.run(terminate(stack, "alone"))


async def terminate(stack: Addresses, order_id: str) -> None:
    """So that the workers of another test do not find it."""
    await (await Client.connect(stack.temporal_host)).get_workflow_handle(workflow_id(order_id)).terminate()


@pytest.mark.parametrize(
    "arguments",
    [["status", "abc-001"], ["approve", "abc-001"], ["list"], ["tables"]],
)
def test_nothing_is_there(inside: Command, arguments: list[str]) -> None:
    assert inside(*arguments).refuses("Start one with `order-lifecycle up`")


def test_nothing_answers(inside: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEMPORAL_HOST", "127.0.0.1:1")
    monkeypatch.setenv("DATABASE_URL", "postgresql://orders:a-password@127.0.0.1:1/orders")
    assert inside("status", "abc-001").refuses("no Temporal server answers at 127.0.0.1:1")
    told = inside("doctor")
    assert told.status == 1
    assert "MISSING  Temporal: no Temporal server answers at 127.0.0.1:1" in told.out
    assert "MISSING  PostgreSQL: " in told.out
    tables = inside("tables")
    assert tables.status == 1
    assert "the database does not answer" in tables.err
    assert "a-password" not in told.out + told.err + tables.err


def test_doctor_with_nothing(inside: Command) -> None:
    told = inside("doctor")
    assert told.status == 1
    assert "MISSING  PostgreSQL: DATABASE_URL is not set" in told.out
    assert "MISSING  Temporal: no Temporal server: TEMPORAL_HOST is not set" in told.out
    assert "Traceback" not in told.err


def test_no_tables(inside: Command, bare_database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", bare_database_url)
    assert inside("tables").refuses("the database has no such tables yet: run `alembic upgrade head`")
