"""A hundred lives of a home as a container has them: an ordinary user, in a namespace of process IDs of its own."""

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
def test_a_hundred_lives_in_a_container(begin: Callable[..., Lives]) -> None:
    print(f"seed {SEED}")
    live(begin(*as_ordinary_user()), MANY, random.Random(SEED))
