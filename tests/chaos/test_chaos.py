"""A short chaos run: `make chaos` is the long one."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.chaos.plan import Plan, make_plan
from tests.chaos.run import chaos


@pytest.mark.proof
async def test_a_short_chaos_run_breaks_no_order(tmp_path: Path) -> None:
    plan = make_plan(seed=1, orders=60, seconds=12, kill_every=2.4, postgres_every=12, temporal_every=12, workers=2)
    outcome = await chaos(plan, tmp_path / "home", print)
    assert outcome.violations == []
    assert sum(outcome.states.values()) == 60
    assert set(outcome.states) == {"shipped", "cancelled", "failed"}
    assert outcome.blows == Counter(
        {
            "order workers killed (SIGKILL)": 4,
            "shipping workers killed (SIGKILL)": 1,
            "PostgreSQL stopped (immediate) and started": 1,
            "Temporal stopped (SIGKILL) and started": 1,
        }
    )


def test_the_same_seed_gives_the_same_plan() -> None:
    """A different seed gives a different plan."""

    def plan(seed: int) -> Plan:
        return make_plan(
            seed, orders=20, seconds=60.0, kill_every=3.0, postgres_every=15.0, temporal_every=15.0, workers=2
        )

    assert plan(1) == plan(1)
    assert plan(1) != plan(2)
