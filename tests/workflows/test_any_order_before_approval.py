"""Draw sequences of events for orders that wait for their review, or that hang in an earlier step."""

from __future__ import annotations

import pytest

from tests.workflows.any_order import check_any_order, everyday

# When it fails, it looks for the shortest example.
pytestmark = [pytest.mark.search, pytest.mark.timeout(900)]


def test_new_orders_end_correctly_after_any_sequence_of_events(database_url: str, cache: int) -> None:
    seed = 100 if cache else 0  # other orders for the workers that remember nothing
    check_any_order(
        database_url,
        cache,
        ["receive_order", "validate_order", "review"],
        examples=64 if everyday() else 128,
        seed=seed,
    )
