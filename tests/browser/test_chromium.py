"""Without a browser, the tests that need one do not pass silently."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.browser.chromium import NONE, find_chromium


@pytest.mark.parametrize(
    ("setting", "outcome"),
    [("", pytest.skip.Exception), ("optional", pytest.skip.Exception), ("required", pytest.fail.Exception)],
)
def test_without_a_browser_a_test_is_skipped_or_fails_as_configured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str, outcome: type[BaseException]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("BROWSER_TESTS", setting)
    with pytest.raises(outcome, match=NONE):
        find_chromium()
