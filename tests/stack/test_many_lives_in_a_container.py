"""Kill a stack 100 times as in a container: as an ordinary user, with separate process IDs."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable

import pytest

from tests.stack.lives import MANY, SEED, Lives, as_ordinary_user, live

pytestmark = [
    pytest.mark.proof,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent is gone"),
]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user, in a namespace of its own")
def test_a_container_that_is_killed_100_times_loses_nothing(begin: Callable[..., Lives]) -> None:
    print(f"seed {SEED}")
    live(begin(*as_ordinary_user()), MANY, random.Random(SEED))
