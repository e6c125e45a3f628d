"""Give the tests a client of a notebook's servers, and orders on them."""

from __future__ import annotations

import pytest
from temporalio.client import Client

from order_lifecycle.client import connect, start_order
from order_lifecycle.domain import Address, Item, Order, Policy
from order_lifecycle.lab.servers import LabServers
from tests.lab.starting import Handle, Start


@pytest.fixture
async def client(lab_servers: LabServers) -> Client:
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
