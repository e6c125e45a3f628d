"""The unreliable outside world."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from order_lifecycle import activities
from order_lifecycle.domain import RefusedError
from order_lifecycle.faults import HANG_SECONDS, STEPS, Faults, OutsideError, OutsideTimeoutError
from tests.support.repeats import everyday


def outcome(faults: Faults, order: str, step: str, attempt: int) -> str:
    waited: list[float] = []
    try:
        faults.call(order, step, attempt, 1000.0, waited.append)
    except OutsideError:
        return "fails"
    except OutsideTimeoutError:
        assert waited == [HANG_SECONDS]
        return "hangs"
    return "works"


def test_faults_have_the_given_shares_and_depend_only_on_the_seed() -> None:
    calls = [(f"order-{number}", step, attempt) for number in range(500) for step in STEPS for attempt in range(1, 6)]
    faults = Faults(1 / 3, 1 / 3, seed=7)
    counted = Counter(outcome(faults, *call) for call in calls)
    assert {what: round(n / len(calls), 1) for what, n in counted.items()} == dict.fromkeys(counted, 0.3)
    assert len(counted) == 3
    assert [outcome(faults, *call) for call in calls[:100]] == [
        outcome(Faults(1 / 3, 1 / 3, seed=7), *call) for call in calls[:100]
    ]
    assert [outcome(faults, *call) for call in calls[:100]] != [
        outcome(Faults(1 / 3, 1 / 3, seed=8), *call) for call in calls[:100]
    ]


def test_without_faults_every_call_works() -> None:
    assert {outcome(Faults(), f"order-{number}", step, 1) for number in range(100) for step in STEPS} == {"works"}


def test_a_step_can_be_set_to_always_fail() -> None:
    faults = Faults(always_fail=frozenset({"charge_payment"}))
    with pytest.raises(RefusedError, match="charge_payment does not work, and will not"):
        outcome(faults, "order-1", "charge_payment", 1)
    assert outcome(faults, "order-1", "ship_order", 1) == "works"


def test_the_faults_know_every_step_that_calls_the_outside_world() -> None:
    found = set()
    for file in Path(activities.__file__).parent.glob("*.py"):
        for function in ast.walk(ast.parse(file.read_text())):
            if isinstance(function, ast.FunctionDef) and "self._call_outside()" in ast.unparse(function):
                found.add(function.name)
    assert found == {*STEPS}


@pytest.mark.parametrize("how", everyday("option", of=["option", "variable"]))
def test_an_unknown_step_is_refused(how: str) -> None:
    options = ["--always-fail=dispatch_carier, ship_order"] if how == "option" else []
    told = {} if options else {"FAULTS_ALWAYS_FAIL": "dispatch_carier, ship_order"}
    worker = subprocess.run(
        [sys.executable, "-m", "order_lifecycle.workers.shipping_worker", *options],
        env={**os.environ, **told},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert worker.returncode == 2
    named = "--always-fail" if options else "FAULTS_ALWAYS_FAIL"
    assert worker.stderr.startswith(f"{named}: there is no step dispatch_carier; the steps are receive_order, ")
    assert "Traceback" not in worker.stderr
