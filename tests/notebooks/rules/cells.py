"""The parts of a notebook that the rules read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TOP = Path(__file__).parents[3]
NOTEBOOKS = sorted((TOP / "notebooks").glob("*.ipynb"))

# A picture inside of HTML. Its letters mean nothing, and can look like anything.
PICTURE_DATA = re.compile(r"data:image/[^\"']*")
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def code(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def markdown(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "markdown"]


def prose(notebook: Any) -> str:
    """Return the prose of a cell, without its blocks of code."""
    return FENCED.sub("", "\n\n".join(cell.source for cell in markdown(notebook)))


def tags(cell: Any) -> list[str]:
    return list(cell.metadata.get("tags", []))


def shown(output: Any) -> Iterator[str]:
    """Yield each text of an output as a reader sees it: without pictures, with its line breaks."""
    yield output.get("text", "")
    yield output.get("evalue", "")
    yield from output.get("traceback", [])
    for mime, data in output.get("data", {}).items():
        if not mime.startswith("image/"):
            yield PICTURE_DATA.sub("", str(data))
