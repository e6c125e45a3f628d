"""Give each test a shop: a time-skipping Temporal, both workers, and the real activities on a real PostgreSQL.

The test decides what the outside world does. After each test, the audit checks every order, and every history is
replayed.
"""

from __future__ import annotations

import sysconfig
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.testing import WorkflowEnvironment

from order_lifecycle.client import register_search_attributes
from order_lifecycle.settings import Settings
from tests.support.shop import Shop, open_shop, open_shop_on_dev_server

TEST_SERVER = Path(sysconfig.get_path("scripts"), "temporal-test-server")


@pytest.fixture
async def shop(database_url: str, cache: int) -> AsyncIterator[Shop]:
    # One server a test: an activity that a cancelled order abandons stops it from ever skipping time again. And no
    # test lets a step end while its order is being cancelled: "ACTIVITY_UNKNOWN", says the server, and it never hands
    # out that task of the workflow again. (The real server knows better: see test_races.py.)
    async with await WorkflowEnvironment.start_time_skipping(
        test_server_existing_path=str(TEST_SERVER), data_converter=pydantic_data_converter
    ) as env:
        await register_search_attributes(env.client)
        async with open_shop(env, database_url, cache) as shop:
            yield shop


@pytest.fixture
async def dev_shop(settings: Settings, database_url: str) -> AsyncIterator[Shop]:
    """Open the same shop on the real server."""
    async with open_shop_on_dev_server(settings, database_url) as shop:
        yield shop


@pytest.fixture
def name() -> str:
    """Return an order ID that no other test on the shared server has."""
    return uuid.uuid4().hex[:8]
