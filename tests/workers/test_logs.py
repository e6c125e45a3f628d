"""What the workers log for a log collector, as the environment tells them to."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from temporalio.client import WorkflowFailureError

from order_lifecycle.client import connect, start_order
from order_lifecycle.domain import Policy
from order_lifecycle.settings import Settings
from tests.support.orders import an_order
from tests.support.worker_process import WorkerProcess

ORDER = an_order("logs-1")


async def test_each_log_line_names_its_order(
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
    assert [line["error"] for line in failures] == ["RefusedError: prepare_package does not work, and will not"] * 3
    about_it = [line for line in order_lines + shipping_lines if "workflow_id" in line]
    assert {line.get("order") for line in about_it} == {"logs-1"}
    assert {line["workflow_id"] for line in failures} == {f"ship-logs-1-{number}" for number in (1, 2, 3)}


def lines(said: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in said.splitlines()]


# What a customer or a foreign client wrote, on its way into a log: the message, a field, an error.
SAY = r"""
import logging, sys
from order_lifecycle import logs
logs.configure(as_json=sys.argv[1] == "json")
log = logging.getLogger("somebody")
written = "x\u202e\x1b[2J\x9b31m\nFAKE order moved"
log.warning("cancelled: %s", written, extra={"workflow_id": written})
try:
    raise ValueError(written)
except ValueError:
    log.exception("it broke")
"""


@pytest.mark.parametrize("form", ["lines", "json"])
def test_no_logged_text_controls_a_terminal_or_forges_a_line(form: str) -> None:
    told = subprocess.run(
        [sys.executable, "-c", SAY, form], capture_output=True, text=True, check=True, timeout=60
    ).stderr
    assert not {"\u202e", "\x1b", "\x9b"} & set(told)
    assert r"\u202e" in told
    assert told.count("FAKE") >= 3
    if form == "json":
        assert [line["event"].partition(":")[0] for line in lines(told)] == ["cancelled", "it broke"]
    else:
        first = told.splitlines()[0]
        assert r"x\u202e\x1b[2J\x9b31m\nFAKE order moved" in first
        assert "workflow_id=" in first
