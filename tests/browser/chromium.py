"""Find Chromium."""

from __future__ import annotations

import os
import shutil

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
NONE = "no Chromium here: on Debian, `apt install chromium`"

# What keeps it from asking the network for anything; without a sandbox, because that is refused to root.
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
OPTIONS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]


def find_chromium() -> str:
    """Return its path. Without one, skip the test, or fail if BROWSER_TESTS=required, as in .ci/run."""
    for name in NAMES:
        if path := shutil.which(name):
            return path
    if os.environ.get("BROWSER_TESTS") == "required":
        pytest.fail(f"{NONE}, or go without these tests with BROWSER_TESTS=optional")
    pytest.skip(NONE)
