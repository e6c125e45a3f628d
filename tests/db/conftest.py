"""A store for each test, on an empty database of a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from order_lifecycle.db.audit import audit
from order_lifecycle.db.store import Store, connect


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = connect(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def store(engine: Engine) -> Iterator[Store]:
    """After the test, every order in it must fulfil the invariants."""
    yield Store(engine)
    assert audit(engine) == []
