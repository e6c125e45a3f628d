"""What Temporal's own variables say of encryption and keys holds for our connections, too."""

from __future__ import annotations

import pytest

from order_lifecycle.client import connect
from order_lifecycle.settings import NoServer, Settings


async def test_an_api_key_is_sent(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEMPORAL_API_KEY", "a-secret-key")
    monkeypatch.setenv("TEMPORAL_TLS", "false")  # which the test's server does not speak
    client = await connect(settings)
    assert client.service_client.config.api_key == "a-secret-key"
    assert await client.count_workflows("WorkflowId = 'order-nobody'")


async def test_with_an_api_key_the_line_is_encrypted(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or there is none: nothing is said to a server that speaks no TLS."""
    monkeypatch.setenv("TEMPORAL_API_KEY", "a-secret-key")
    with pytest.raises(NoServer):
        await connect(settings)


async def test_our_own_address_and_namespace_win(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", "temporal.example.com:7233")
    monkeypatch.setenv("TEMPORAL_NAMESPACE", "another")
    client = await connect(settings)
    assert client.service_client.config.target_host == settings.temporal_host
    assert client.namespace == settings.temporal_namespace
