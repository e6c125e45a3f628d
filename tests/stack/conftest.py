"""A fixture that the tests of killed stacks share."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.stack.lives import USER, Lives


@pytest.fixture
def begin() -> Iterator[Callable[..., Lives]]:
    """Return a function that makes a home, which is removed at the end. `before`: the words before its command."""
    with ExitStack() as at_the_end:

        def new(*before: str) -> Lives:
            folder = Path(at_the_end.enter_context(tempfile.TemporaryDirectory()))
            folder.chmod(0o755)
            home = folder / "home"
            home.mkdir()
            if f"--reuid={USER}" in before:
                os.chown(home, USER, USER)
            lives = Lives(home, folder, before)
            at_the_end.callback(lives.end)
            return lives

        yield new
