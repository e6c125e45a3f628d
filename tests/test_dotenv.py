"""A file `.env` that cannot be read is named, in one line."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from order_lifecycle.domain import BadInputError
from order_lifecycle.settings import Settings


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has such a file")
def test_a_dotenv_that_cannot_be_read_is_named_with_the_next_step() -> None:
    Path(".env").symlink_to("/proc/self/mem")  # even root cannot read it
    with pytest.raises(BadInputError, match=r"^\.env: it cannot be read \(.*\)\. Let this user read "):
        Settings()
