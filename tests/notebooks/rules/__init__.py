"""The rules for every saved notebook, beyond what nbval compares."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from . import exercises, form, names, outputs
from .cells import NOTEBOOKS, TOP

__all__ = ["NOTEBOOKS", "TOP", "faults"]


def faults(notebook: Any, folder: Path = TOP / "notebooks") -> list[str]:
    """Return the faults of a notebook, one line each."""
    return [
        *form.faults(notebook),
        *outputs.faults(notebook),
        *names.faults(notebook, folder),
        *exercises.faults(notebook),
    ]
