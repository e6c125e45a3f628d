"""Where Chromium is."""

from __future__ import annotations

import os
import shutil

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
NONE = "no Chromium here: on Debian, `apt install chromium`"


def find_chromium() -> str:
    """Its path. Without it the test is skipped, or fails where BROWSER_TESTS=required, as .ci/run says."""
    for name in NAMES:
        if path := shutil.which(name):
            return path
    if os.environ.get("BROWSER_TESTS") == "required":
        pytest.fail(f"{NONE}, or go without these tests with BROWSER_TESTS=optional")
    pytest.skip(NONE)
