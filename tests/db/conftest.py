"""Give each test a store on a real PostgreSQL.

The tests share one database, which is emptied before each. So the engine compiles its statements only once.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, create_engine, make_url, text

from order_lifecycle.db.audit import audit
from order_lifecycle.db.store import Store, connect
from order_lifecycle.settings import Addresses
from order_lifecycle.stack.migrate import migrate


@pytest.fixture(scope="session")
def addresses(stack: Addresses, admin_url: str) -> dict[str, str]:
    """Yield the address of the tests' database for each of the two roles."""
    server = create_engine(admin_url, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(text("CREATE DATABASE tests_of_the_store OWNER orders_owner"))
    server.dispose()
    urls = {"application": stack.database_url, "owner": stack.database_owner_url or ""}
    return {
        role: make_url(url).set(database="tests_of_the_store").render_as_string(hide_password=False)
        for role, url in urls.items()
    }


@pytest.fixture(scope="session")
def one_engine(addresses: dict[str, str]) -> Iterator[Engine]:
    migrate(addresses["application"], addresses["owner"])
    engine = connect(addresses["application"], pool_size=20, long_transactions=True)  # many tests wait at once
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def owners_engine(addresses: dict[str, str]) -> Iterator[Engine]:
    engine = connect(addresses["owner"], pool_size=20, long_transactions=True)
    yield engine
    engine.dispose()


@pytest.fixture
def engine(one_engine: Engine, owners_engine: Engine) -> Engine:
    """Connect to an empty database as the application role."""
    with owners_engine.begin() as tx:
        tx.execute(text("TRUNCATE orders, payments, events RESTART IDENTITY"))
    return one_engine


@pytest.fixture
def owner(engine: Engine, owners_engine: Engine) -> Engine:
    """Connect to the same database as the owner of the tables, who may write more."""
    return owners_engine


@pytest.fixture
def store(engine: Engine) -> Iterator[Store]:
    """Yield a store. After the test, check that every order in it fulfils the invariants."""
    yield Store(engine)
    assert audit(engine) == []
