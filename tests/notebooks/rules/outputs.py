"""A saved notebook shows no error, no warning, no picture without alt text, and no path of a machine."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nbval.plugin import find_comment_markers

from .cells import TOP, code, markdown, shown, tags

# Where machines keep things, and where this one keeps ours. A notebook is read on other machines.
FOLDERS = (
    "/(?:home|Users|root|tmp|var|usr|opt|etc|srv|mnt|media|private|Volumes|Library|Applications"
    "|work|workspaces?|content|kaggle|builds)"
)
HERE = [re.escape(str(path)) for path in (TOP, Path.home(), Path(tempfile.gettempdir())) if path != Path("/")]
PLACE = re.compile(
    rf"(?<![\w.<-])(?:{'|'.join([*HERE, FOLDERS])})(?![\w-])"
    r"|~/[\w.]"
    r"|(?<!\w)[A-Z]:\\{1,2}\w"
    r"|\b(?:site|dist)-packages\b"
)
URL = re.compile(r"\bhttps?://[^\s\"'<>)`]+")
BAD_NEWS = re.compile(r"Traceback \(most recent call last\)|\b\w*Warning: ")
IMG = re.compile(r"<img\b[^>]*>")
ALT = re.compile(r"""\balt=(["'])\s*[^\s"']""")
# The cells whose output is not compared, with the reason, beside all else that may differ.
LISTED = set(re.findall(r"^cell (\S+): \w", (TOP / "notebooks" / "sanitize.cfg").read_text(), re.MULTILINE))
MARKDOWN_IMAGE = re.compile(r"!\[(?P<alt>[^\]]*)\]\((?P<file>[^)]*)\)")


def faults(notebook: Any) -> Iterator[str]:
    yield from _ignored(notebook)
    for cell in code(notebook):
        for output in cell.outputs:
            yield from (f"cell {cell.id} {fault}" for fault in _output(output))
    yield from _errors(notebook)
    for cell in markdown(notebook):
        for image in MARKDOWN_IMAGE.finditer(cell.source):
            if not image["alt"].strip():
                yield f"the picture {image['file']} has no alt text"
        if any(not ALT.search(img) for img in IMG.findall(cell.source)):
            yield f"cell {cell.id} has a picture without an alt text"
    for cell in notebook.cells:
        if place := _place(cell.source):
            yield f"cell {cell.id} names a path of one machine: {place}…"


def _ignored(notebook: Any) -> Iterator[str]:
    marked = {cell.id: dict(find_comment_markers(cell.source)) for cell in code(notebook)}
    ignored = [cell for cell in code(notebook) if marked[cell.id].get("check") is False]
    if len(ignored) * 20 > max(len(marked), 20):
        yield f"the outputs of {len(ignored)} cells are ignored, more than one in twenty"
    for cell in ignored:
        if not re.search(r"# NBVAL_IGNORE_OUTPUT\n# \w+", cell.source):
            yield f"cell {cell.id} ignores its output without a reason"
        if cell.id not in LISTED:
            yield f"cell {cell.id} ignores its output, and notebooks/sanitize.cfg does not list it"
    for cell in code(notebook):
        if "skip" in marked[cell.id]:
            yield f"cell {cell.id} is not run by the tests"


def _output(output: Any) -> Iterator[str]:
    if output.get("name") == "stderr":
        yield f"writes to stderr: {output.text.strip()[:80]}"
    for text in shown(output):
        if place := _place(text):
            yield f"shows a path of this machine: {place}…"
        if output.output_type != "error" and (news := BAD_NEWS.search(text)):
            yield f"shows what looks like trouble: {news.group()}"
        if any(not ALT.search(img) for img in IMG.findall(text)):
            yield "shows a picture without an alt text"
    for mime in output.get("data", {}):
        if mime.startswith("image/") and not output.metadata.get(mime, {}).get("alt", "").strip():
            yield "shows a picture without an alt text"


def _errors(notebook: Any) -> Iterator[str]:
    """Yield each error that is not intended or not explained: by its tag, and in the next cell."""
    following = [*notebook.cells[1:], None]
    for cell, after in zip(notebook.cells, following, strict=True):
        for output in cell.get("outputs", []):
            if output.output_type != "error":
                continue
            if "raises-exception" not in tags(cell):
                yield f"cell {cell.id} ends with an error: {output.ename}"
            elif after is None or after.cell_type != "markdown" or output.ename not in after.source:
                yield f"cell {cell.id} is meant to end with {output.ename}, and the cell below does not explain it"


def _place(text: str) -> str | None:
    found = PLACE.search(URL.sub("", text))
    return found.group() if found else None
