"""Quantiles of measured times."""

from __future__ import annotations

from collections.abc import Sequence


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value that this share of the values does not exceed: 0.5 for the median."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]
