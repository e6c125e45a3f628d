"""How `lab.source` shows the project's source."""

from __future__ import annotations

from pathlib import Path

import pytest

from order_lifecycle import lab
from order_lifecycle.workers.base import serve


def test_one_statement_of_a_source_can_be_shown() -> None:
    shown = repr(lab.source(serve, "worker = Worker("))
    assert shown.startswith("# order_lifecycle/workers/base.py\nworker = Worker(\n    client,\n")
    assert shown.endswith("\n)")
    with pytest.raises(lab.LabError, match="no statement begins with 'servant ='"):
        lab.source(serve, "servant =")


def test_a_test_is_shown_from_its_file() -> None:
    shown = repr(lab.source(Path(__file__), "def test_a_test_is"))
    assert shown.startswith("# tests/lab/test_source.py\ndef test_a_test_is_shown_from_its_file() -> None:\n    shown")
    assert "parametrize" in repr(
        lab.source(Path(__file__).with_name("test_workers.py"), "def test_a_step_that_is_safe")
    )
