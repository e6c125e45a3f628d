"""Cases of which one or two notice a change: `make test` runs those, `make proof` runs the ones that repeat them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import settings


def everyday(*few: Any, of: Iterable[Any]) -> list[Any]:
    """Return all cases of `of` for `pytest.mark.parametrize`; those that are not among `few` are marked `proof`."""
    cases = [*of]
    assert all(one in cases for one in few), f"there is no such case: {few}"
    return [one if one in few else in_proof(one)[0] for one in cases]


def in_proof(*cases: Any) -> list[Any]:
    """Return these cases for `pytest.mark.parametrize`, all of them marked `proof`."""
    return [pytest.param(*(one if isinstance(one, tuple) else (one,)), marks=pytest.mark.proof) for one in cases]


def examples(in_proof: int) -> settings:
    """Draw so many examples in `make proof`, where each takes long; `make test` draws as many as usual."""
    return settings(max_examples=in_proof) if settings.get_current_profile_name() == "proof" else settings()
