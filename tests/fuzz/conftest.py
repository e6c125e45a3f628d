"""A shop for each test, as the tests of the workflows have it, but on the real server with its real limits."""

from __future__ import annotations

import logging
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from temporalio.testing import WorkflowEnvironment

from order_lifecycle.client import connect as connect_to_temporal
from order_lifecycle.db.audit import audit
from order_lifecycle.db.store import Store, connect
from order_lifecycle.settings import Settings

sys.path.append(str(Path(__file__).parents[1] / "workflows"))
pytest.register_assert_rewrite("shop")
from shop import Shop, assert_temporal_agrees, replay_everything  # noqa: E402


@pytest.fixture
async def shop(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Shop]:
    # Of each signal that makes no sense the SDK logs the traceback, which pytest would keep.
    monkeypatch.setattr(logging.getLogger("temporalio"), "level", logging.CRITICAL)
    assert settings.database_url
    engine = connect(settings.database_url.get_secret_value(), pool_size=20)
    shop = Shop(WorkflowEnvironment.from_client(await connect_to_temporal(settings)), Store(engine), {})
    try:
        yield shop
    finally:
        shop.outside.let_go()
        shop.threads.shutdown()
    assert audit(engine) == []
    await assert_temporal_agrees(shop)
    await replay_everything(shop)
    engine.dispose()
