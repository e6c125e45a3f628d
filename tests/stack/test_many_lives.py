"""Kill the stack of a home 100 times at random. `LIVES=1000 LIVES_SEED=7 pytest -n 0 -m proof …` runs others."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable

import pytest

from tests.stack.lives import MANY, SEED, Lives, live

pytestmark = [
    pytest.mark.proof,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent is gone"),
]


def test_a_home_that_is_killed_100_times_loses_nothing(begin: Callable[..., Lives]) -> None:
    print(f"seed {SEED}")
    live(begin(), MANY, random.Random(SEED))
