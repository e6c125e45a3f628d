"""Temporal's own variables and configuration file apply to your own server: encryption, keys, the namespace."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from order_lifecycle.client import connect, namespace
from order_lifecycle.domain import BadInputError
from order_lifecycle.settings import NoServerError, Settings
from tests.support.worker_process import WorkerProcess

Start = Callable[..., WorkerProcess]


async def test_an_api_key_is_sent(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEMPORAL_API_KEY", "a-secret-key")
    monkeypatch.setenv("TEMPORAL_TLS", "false")  # which the test's server does not speak
    client = await connect(settings)
    assert client.service_client.config.api_key == "a-secret-key"
    assert await client.count_workflows("WorkflowId = 'order-nobody'")


async def test_with_an_api_key_the_connection_is_encrypted(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """To a server without TLS there is no connection at all."""
    monkeypatch.setenv("TEMPORAL_API_KEY", "a-secret-key")
    with pytest.raises(NoServerError):
        await connect(settings)


async def test_temporal_host_beats_temporal_address(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", "temporal.example.com:7233")
    client = await connect(settings)
    assert client.service_client.config.target_host == settings.temporal_host


@pytest.mark.parametrize(
    ("profile", "environment", "dotenv", "used"),
    [
        (None, None, None, "default"),
        ("of-the-profile", None, None, "of-the-profile"),
        ("of-the-profile", None, "of-dotenv", "of-dotenv"),
        ("of-the-profile", "of-the-environment", "of-dotenv", "of-the-environment"),
        (None, "", None, "default"),
    ],
)
def test_a_namespace_that_is_set_beats_that_of_the_profile(
    profile: str | None,
    environment: str | None,
    dotenv: str | None,
    used: str,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The namespace that is set is used; without one, the profile's."""
    assert settings.temporal_host
    monkeypatch.setenv("TEMPORAL_HOST", settings.temporal_host)
    if profile is not None:
        (tmp_path / "temporal.toml").write_text(f'[profile.default]\nnamespace = "{profile}"\n')
        monkeypatch.setenv("TEMPORAL_CONFIG_FILE", str(tmp_path / "temporal.toml"))
    if environment is not None:
        monkeypatch.setenv("TEMPORAL_NAMESPACE", environment)
    if dotenv is not None:
        Path(".env").write_text(f"TEMPORAL_NAMESPACE={dotenv}\n")
    assert asyncio.run(connect()).namespace == used
    assert namespace(Settings()) == used  # by which notebooks link to the Web UI


# A variable of Temporal's, what makes no sense as its value, and the words that name it.
UNUSABLE = [
    ("TEMPORAL_TLS_CLIENT_CERT_PATH", "no-such.pem", "no-such.pem"),
    ("TEMPORAL_TLS_CLIENT_CERT_PATH", ".", "directory"),
    ("TEMPORAL_TLS_CLIENT_CERT_DATA", "without a key", "private key"),
    ("TEMPORAL_PROFILE", "nobody", "Profile 'nobody' not found"),
    ("TEMPORAL_CONFIG_FILE", "malformed.toml", "TOML parse error"),
]


@pytest.fixture(params=UNUSABLE, ids=lambda of: f"{of[0]}={of[1]}")
def unusable(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Set something unusable, and return the words that the refusal must contain."""
    name, value, words = request.param
    Path("malformed.toml").write_text("[profile\n")
    monkeypatch.setenv(name, value)
    return str(words)


async def test_unusable_temporal_settings_are_named(unusable: str, settings: Settings) -> None:
    with pytest.raises(BadInputError) as refused:
        await connect(settings)
    assert str(refused.value).startswith("Temporal's own settings (")
    assert unusable in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "unusable",
    [pytest.param(UNUSABLE[0], marks=pytest.mark.proof), UNUSABLE[-1]],
    ids=["file", "toml"],
    indirect=True,
)
def test_unusable_temporal_settings_are_named_in_one_line(
    unusable: str, start_worker: Start, environment: dict[str, str]
) -> None:
    """A worker and a command both name them."""
    worker = start_worker("order", environment=environment)
    assert worker.process.wait(20) == 2
    listed = subprocess.run(
        [sys.executable, "-m", "order_lifecycle", "list"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (listed.returncode, listed.stdout) == (2, "")
    for said in (worker.said(), listed.stderr):
        assert said.count("\n") == 1
        assert unusable in said
