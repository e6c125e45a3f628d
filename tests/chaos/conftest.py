"""Give the tests of this folder their own servers without other orders, and processes that end with the test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from pydantic import SecretStr

from order_lifecycle.client import connect as connect_to_temporal
from order_lifecycle.db.audit import audit
from order_lifecycle.db.store import Store, connect
from order_lifecycle.reconciliation import compare_with_temporal
from order_lifecycle.settings import Addresses, Settings
from order_lifecycle.stack.child_process import ChildProcess
from order_lifecycle.stack.child_servers import STACK, read_addresses
from tests.chaos.world import World


@pytest.fixture(scope="module")
def own_stack() -> Iterator[Addresses]:
    """Start both servers for the tests of one file. Their Temporal and their database have the same orders."""
    stack = ChildProcess("stack", [*STACK])
    yield read_addresses(stack)
    stack.stop()


@pytest.fixture
async def world(own_stack: Addresses) -> AsyncIterator[World]:
    """Yield a world. After the test, check that no order violates an invariant."""
    settings = Settings(temporal_host=own_stack.temporal_host, database_url=SecretStr(own_stack.database_url))
    environment = {
        "TEMPORAL_HOST": own_stack.temporal_host,
        "DATABASE_URL": own_stack.database_url,
        "PYTHONPATH": str(Path(__file__).parents[2]),  # for tests.chaos.dying_worker
    }
    engine = connect(own_stack.database_url)
    with ExitStack() as processes:
        yield World(await connect_to_temporal(settings), engine, environment, processes)
        assert audit(engine) == []
        assert await compare_with_temporal(await connect_to_temporal(settings), Store(engine).order_states) == []
    engine.dispose()
