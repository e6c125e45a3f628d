"""A world for all tests of the lab, as a notebook has one."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from starting import Handle, Start
from temporalio.client import Client

from order_lifecycle import lab
from order_lifecycle.client import connect, start_order
from order_lifecycle.domain import Address, Item, Order, Policy
from order_lifecycle.lab import world as worlds


@pytest.fixture(scope="module")
def world(monkeypatch_module: pytest.MonkeyPatch) -> Iterator[worlds.World]:
    monkeypatch_module.setattr(worlds, "_world", None)
    it = lab.up()
    yield it
    it.process.stop()


@pytest.fixture(scope="module")
def monkeypatch_module() -> Iterator[pytest.MonkeyPatch]:
    """What lab.up() writes into the environment is gone at the end."""
    before = dict(os.environ)
    with pytest.MonkeyPatch.context() as patch:
        yield patch
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
async def client(world: worlds.World) -> Client:
    return await connect()


@pytest.fixture
def start(client: Client) -> Start:
    async def start(order_id: str, policy: Policy = Policy()) -> Handle:
        order = Order(
            id=order_id,
            payment_id=f"pay-{order_id}",
            items=[Item(name="apple", qty=3, price="2.50")],  # type: ignore[arg-type]
            address=Address(address="575 Lake Dr.", city="Columbus", state="OH", zipcode="43210"),
        )
        return await start_order(client, order, policy)

    return start
