"""The legend of a timeline names only what the picture has."""

from __future__ import annotations

import pytest

from order_lifecycle.lab.views.history import Span
from order_lifecycle.lab.views.timeline import _legend

STEP = Span("charge_payment", "step", 0, 0, 0.2, "ok")
QUEUED = Span("charge_payment", "step", 0, 1, 1.2, "ok")
FAILED = Span("charge_payment", "attempt", 0, 0, 0.1, "failed")
SIGNAL = Span("approve_order", "signal", 0.3, 0.3, 0.3, "ok")
UPDATE = Span("approve", "update", 0.3, 0.3, 0.3, "ok")


@pytest.mark.parametrize(
    ("spans", "labels"),
    [
        ([], {}),
        ([STEP], {"a step (activity)": None}),
        ([STEP, SIGNAL], {"a step (activity)": None, "a signal": "v"}),
        ([UPDATE, SIGNAL, SIGNAL], {"a signal": "v", "an Update": "D"}),
        ([QUEUED, FAILED], {"a step (activity)": None, "waits for a worker": None, "an attempt that failed": "x"}),
    ],
)
def test_the_legend_names_only_marks_that_are_drawn(spans: list[Span], labels: dict[str, str | None]) -> None:
    """The legend shows each mark as it is drawn. A bar has no mark."""
    assert {str(each.get_label()): getattr(each, "get_marker", lambda: None)() for each in _legend(spans)} == labels
