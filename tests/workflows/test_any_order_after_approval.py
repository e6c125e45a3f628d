"""Any order of things, for orders that are approved, and hang after it, when it begins."""

from __future__ import annotations

import pytest

from tests.workflows.any_order import check_any_order, everyday

# When it fails, it looks for the shortest example.
pytestmark = [pytest.mark.search, pytest.mark.timeout(900)]


def test_any_order_after_approval(database_url: str, cache: int) -> None:
    seed = 100 if cache else 0  # other orders for the workers that remember nothing
    check_any_order(
        database_url,
        cache,
        ["charge_payment", "prepare_package", "dispatch_carrier", "ship_order"],
        examples=64 if everyday() else 128,
        seed=seed,
    )
