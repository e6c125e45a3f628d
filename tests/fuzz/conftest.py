"""A shop for each test, as the tests of the workflows have it, but on the real server with its real limits."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator

import pytest
from temporalio.testing import WorkflowEnvironment

from order_lifecycle.client import connect as connect_to_temporal
from order_lifecycle.settings import Settings
from tests.support.shop import Shop, open_shop


@pytest.fixture
async def shop(
    settings: Settings, database_url: str, cache: int, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Shop]:
    # Of each signal that makes no sense the SDK logs the traceback, which pytest would keep.
    monkeypatch.setattr(logging.getLogger("temporalio"), "level", logging.CRITICAL)
    env = WorkflowEnvironment.from_client(await connect_to_temporal(settings))
    async with open_shop(env, database_url, cache) as shop:
        yield shop
