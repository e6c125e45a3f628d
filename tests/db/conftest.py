"""A store for each test, on a real PostgreSQL. One database for them all, emptied before each: an engine compiles its
statements only once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, create_engine, make_url, text

from order_lifecycle.db.audit import audit
from order_lifecycle.db.store import Store, connect
from order_lifecycle.settings import Addresses
from order_lifecycle.stack.migrate import migrate

pytest.register_assert_rewrite("rig")


@pytest.fixture(scope="session")
def one_engine(stack: Addresses) -> Iterator[Engine]:
    server = create_engine(make_url(stack.database_url).set(database="postgres"), isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(text("CREATE DATABASE tests_of_the_store"))
    server.dispose()
    url = make_url(stack.database_url).set(database="tests_of_the_store").render_as_string(hide_password=False)
    migrate(url)
    engine = connect(url, pool_size=20)  # for all that come at once
    yield engine
    engine.dispose()


@pytest.fixture
def engine(one_engine: Engine) -> Engine:
    with one_engine.begin() as tx:
        tx.execute(text("TRUNCATE orders, payments, events RESTART IDENTITY"))
    return one_engine


@pytest.fixture
def store(engine: Engine) -> Iterator[Store]:
    """After the test, every order in it must fulfil the invariants."""
    yield Store(engine)
    assert audit(engine) == []
