"""An order is started with the policy that the settings describe."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from order_lifecycle.client import connect, workflow_id
from order_lifecycle.domain import (
    LONGEST_DURATION,
    LONGEST_RETRY_INTERVAL,
    SHORTEST_DURATION,
    BadInputError,
    Order,
    Policy,
)
from order_lifecycle.settings import Settings

ITEMS = '[{"name": "apple", "qty": 1, "price": 5}]'
ADDRESS = '{"address": "575 Lake Dr.", "city": "Columbus", "state": "OH", "zipcode": "43210"}'

RULES: dict[str, tuple[str, Any]] = {
    "REVIEW_TIMEOUT_SECONDS": ("86400", timedelta(days=1)),
    "ATTEMPT_TIMEOUT_SECONDS": ("2.5", timedelta(seconds=2.5)),
    "RETRY_INTERVAL_SECONDS": ("0.25", timedelta(milliseconds=250)),
    "ORDER_BUDGET_SECONDS": ("7200", timedelta(hours=2)),
    "SHIPPING_TRIES": ("7", 7),
}


def test_policy_settings_reach_the_order(settings: Settings, environment: dict[str, str]) -> None:
    environment |= {name: value for name, (value, _) in RULES.items()}
    start = [sys.executable, "-m", "order_lifecycle", "start", "by-rules", "p-by-rules"]
    subprocess.run([*start, "--items", ITEMS, "--address", ADDRESS], env=environment, check=True)
    policy = asyncio.run(started_with(settings, "by-rules"))
    assert list(policy.model_dump().values()) == [wanted for _, wanted in RULES.values()]


async def started_with(settings: Settings, order_id: str) -> Policy:
    client = await connect(settings)
    order = client.get_workflow_handle(workflow_id(order_id))
    began = (await order.fetch_history()).events[0].workflow_execution_started_event_attributes
    await order.terminate()  # so that the workers of another test do not find it
    _, policy = await client.data_converter.decode(began.input.payloads, [Order, Policy])
    return Policy.model_validate(policy)


def test_without_settings_the_policy_has_its_defaults() -> None:
    assert Settings().policy() == Policy()
    assert len(RULES) == len(Policy.model_fields)


SPAN = (SHORTEST_DURATION.total_seconds(), LONGEST_DURATION.total_seconds())
BOUNDS: dict[str, tuple[float, float]] = {
    "REVIEW_TIMEOUT_SECONDS": SPAN,
    "ATTEMPT_TIMEOUT_SECONDS": (0.25, SPAN[1]),
    "ORDER_BUDGET_SECONDS": (1, SPAN[1]),
    "RETRY_INTERVAL_SECONDS": (SHORTEST_DURATION.total_seconds(), LONGEST_RETRY_INTERVAL.total_seconds()),
    "SHIPPING_TRIES": (1, 100),
}


@pytest.mark.parametrize("name", BOUNDS)
def test_a_policy_setting_outside_its_bounds_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    least, most = BOUNDS[name]
    for allowed in (least, most):
        monkeypatch.setenv(name, str(allowed))
        Settings().policy()
    for refused in (least - 1e-3 * (least < 1) - (least >= 1), most + 1, "soon"):
        monkeypatch.setenv(name, str(refused))
        with pytest.raises(BadInputError, match=rf"^{name} \("):
            Settings()


def test_an_attempt_too_short_to_work_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """No refund would ever succeed in so short a time."""
    monkeypatch.setenv("ATTEMPT_TIMEOUT_SECONDS", "0.001")
    wanted = r'^ATTEMPT_TIMEOUT_SECONDS \(.*\): got "0\.001"; wanted: greater than or equal to 0\.25, such as 0\.5$'
    with pytest.raises(BadInputError, match=wanted):
        Settings()
    with pytest.raises(ValidationError):  # nor by a client that starts the workflow itself
        Policy(attempt_timeout=timedelta(milliseconds=1))
