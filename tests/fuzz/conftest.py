"""Give each test a shop like that of the workflows' tests, but on the real server with its limits."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator

import pytest

from order_lifecycle.settings import Settings
from tests.support.shop import Shop, open_shop_on_dev_server


@pytest.fixture
async def shop(
    settings: Settings, database_url: str, cache: int, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Shop]:
    # Of each signal that makes no sense the SDK logs the traceback, which pytest would keep.
    monkeypatch.setattr(logging.getLogger("temporalio"), "level", logging.CRITICAL)
    async with open_shop_on_dev_server(settings, database_url, cache) as shop:
        yield shop
