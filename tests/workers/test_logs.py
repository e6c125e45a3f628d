"""What the workers log for a collector, and what they are told by the environment."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from temporalio.client import WorkflowFailureError
from worker_process import WorkerProcess

from order_lifecycle.client import connect, start_order
from order_lifecycle.domain import Policy, parse_order
from order_lifecycle.settings import Settings

ORDER = parse_order(
    "logs-1",
    "pay-logs-1",
    '[{"name": "apple", "qty": 1, "price": 5}]',
    '{"address": "575 Lake Dr.", "city": "Columbus", "state": "OH", "zipcode": "43210"}',
)


async def test_each_line_names_its_order(
    start_worker: Callable[..., WorkerProcess], environment: dict[str, str], settings: Settings
) -> None:
    environment |= {"LOG_JSON": "true", "FAULTS_ALWAYS_FAIL": "prepare_package"}
    workers = [start_worker(kind, environment=environment) for kind in ("order", "shipping")]
    order = await start_order(await connect(settings), ORDER, Policy())
    await order.signal("approve_order")
    with pytest.raises(WorkflowFailureError):
        await order.result()
    for worker in workers:
        assert worker.end() == 0
    order_lines, shipping_lines = [lines(worker.said()) for worker in workers]

    moves = [(line["before"], line["after"]) for line in order_lines if line["event"] == "order moved"]
    states = ["received", "awaiting_review", "approved", "charged", "failed"]
    assert moves == list(zip([None, *states], states, strict=False))
    failures = [line for line in shipping_lines if line.get("step") == "prepare_package"]
    assert [line["error"] for line in failures] == ["Refused: prepare_package does not work, and will not"] * 3
    about_it = [line for line in order_lines + shipping_lines if "workflow_id" in line]
    assert {line.get("order") for line in about_it} == {"logs-1"}
    assert {line["workflow_id"] for line in failures} == {f"ship-logs-1-{number}" for number in (1, 2, 3)}


def lines(said: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in said.splitlines()]
