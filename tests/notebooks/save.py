"""Run notebooks and save them with their outputs: `python tests/notebooks/save.py notebooks/*.ipynb`.

The tests compare with the saved output. Save a notebook again when you have changed it and looked at the new
outputs, never to make a test pass.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from order_lifecycle.lab.waiting import NO_PROGRESS
from order_lifecycle.settings import Settings


def save(path: Path) -> float:
    """Run and save a notebook, and return the seconds that it took."""
    notebook = nbformat.read(path, as_version=4)
    began = time.monotonic()
    NotebookClient(
        notebook,
        kernel_name="python3",
        timeout=120,
        resources={"metadata": {"path": path.parent}},
        coalesce_streams=True,  # one text for what was printed, in however many pieces it came
    ).execute()
    took = time.monotonic() - began
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # the times at which it ran
    notebook.metadata["language_info"] = {"name": "python"}  # and not the version of this Python
    nbformat.write(notebook, path)
    return took


if __name__ == "__main__":
    os.environ[NO_PROGRESS] = "1"
    for variable in [name for name in os.environ if name.lower() in Settings.model_fields]:
        del os.environ[variable]
    for name in sys.argv[1:]:
        print(f"{name}: {save(Path(name)):.1f} s", flush=True)
