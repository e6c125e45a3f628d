"""International addresses in the database: missing fields are not stored, and a parcel goes to the last address."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from order_lifecycle.db.audit import audit
from order_lifecycle.db.store import Store
from order_lifecycle.domain import Address, OrderState
from tests.db.rig import HERE, go_on
from tests.support.orders import an_order

TOKYO = Address(address="1-1 Chiyoda", city="千代田区", zipcode="100-8111", country="JP")
DUBLIN = Address(address="12 Main Street", city="Dublin", country="IE")


@pytest.mark.parametrize(("first", "last"), [(TOKYO, DUBLIN), (HERE, TOKYO), (DUBLIN, HERE)])
def test_a_parcel_goes_to_the_last_address_whatever_fields_it_has(
    store: Store, engine: Engine, first: Address, last: Address
) -> None:
    order = an_order().model_copy(update={"address": first})
    go_on(store, order, OrderState.PACKED)
    assert store.rows("orders")[0]["address_json"] == first.model_dump()
    store.change_address(order.id, "run/1", last)
    assert store.dispatch(order.id, first) is False
    assert store.dispatch(order.id, last) is True
    assert store.address(order.id) == last
    assert audit(engine) == []


def test_an_address_without_a_country_is_stored_without_one(store: Store, engine: Engine) -> None:
    order = an_order()
    go_on(store, order, OrderState.PACKED)
    assert store.rows("orders")[0]["address_json"] == {
        "address": "575 Lake Dr.",
        "city": "Columbus",
        "state": "OH",
        "zipcode": "43210",
    }
    assert store.dispatch(order.id, HERE) is True
    assert audit(engine) == []
