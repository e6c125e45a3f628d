"""Any order of things, for orders that wait for their review, or hang before it, when it begins."""

from __future__ import annotations

import pytest
from any_order import check_any_order

pytestmark = pytest.mark.timeout(900)  # when it fails, it looks for the shortest example


def test_any_order_before_approval(database_url: str, cache: dict[str, int]) -> None:
    seed = 100 if cache else 0  # other orders for the workers that remember nothing
    check_any_order(database_url, cache, ["receive_order", "validate_order", "review"], examples=128, seed=seed)
