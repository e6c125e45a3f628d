"""A shop for each test, as the tests of the workflows have it, but on the real server with its real limits."""

from __future__ import annotations

import logging
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from order_lifecycle.settings import Settings

sys.path.append(str(Path(__file__).parents[1] / "workflows"))
pytest.register_assert_rewrite("shop")
from shop import Shop, open_shop, real_temporal  # noqa: E402


@pytest.fixture(params=[{}, {"max_cached_workflows": 0}], ids=["cached", "replayed"])
async def shop(
    settings: Settings, database_url: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> AsyncIterator[Shop]:
    # Of each signal that makes no sense the SDK logs the traceback, which pytest would keep.
    monkeypatch.setattr(logging.getLogger("temporalio"), "level", logging.CRITICAL)
    async with open_shop(await real_temporal(settings), database_url, request.param) as shop:
        yield shop
