"""What every saved notebook must be, beyond what nbval compares."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from order_lifecycle import lab

TOP = Path(__file__).parents[2]
NOTEBOOKS = sorted((TOP / "notebooks").glob("*.ipynb"))

# Where machines keep things. A notebook is read on other machines.
PLACES = re.compile(
    r"(?<![\w.:/-])(?:/(?:home|Users|root|tmp|var|usr|opt|work|private|mnt)/\w|[A-Z]:\\\\\w)|site-packages"
)
HEADINGS = ("You will learn", "Time", "Needs")
SECTIONS = ("## Recap", "## Try it")
IMAGE = re.compile(r"!\[(?P<alt>[^\]]*)\]\((?P<file>[^)]*)\)")
LINK = re.compile(r"(?<!!)\[[^\]]+\]\((?P<file>[^)#:]+)\)")


def faults(notebook: Any, folder: Path = TOP / "notebooks") -> list[str]:
    """What is wrong with it, each in one line."""
    kinds = (_run_once(notebook), _outputs(notebook), _text(notebook, folder), _solutions(notebook))
    return [*(fault for kind in kinds for fault in kind), *_exercises(notebook)]


def _code(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _prose(notebook: Any) -> str:
    return "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def _run_once(notebook: Any) -> Iterator[str]:
    counts = [cell.execution_count for cell in _code(notebook)]
    if counts != list(range(1, len(counts) + 1)):
        yield f"not run once from top to bottom: the execution counts are {counts}"
    if notebook.metadata.get("kernelspec", {}).get("name") != "python3":
        yield "its kernel is not the ordinary one, python3"
    for cell in notebook.cells:
        if unknown := set(cell.metadata) - {"tags", "jupyter"}:
            yield f"cell {cell.id} has metadata that nobody needs: {', '.join(sorted(unknown))}"


def _outputs(notebook: Any) -> Iterator[str]:
    ignored = [cell for cell in _code(notebook) if "NBVAL_IGNORE_OUTPUT" in cell.source]
    if len(ignored) * 20 > max(len(_code(notebook)), 20):
        yield f"the outputs of {len(ignored)} cells are ignored, more than one in twenty"
    for cell in ignored:
        if not re.search(r"# NBVAL_IGNORE_OUTPUT\n# \w+", cell.source):
            yield f"cell {cell.id} ignores its output without a reason"
    for cell in _code(notebook):
        if "NBVAL_SKIP" in cell.source:
            yield f"cell {cell.id} is not run by the tests"
        for output in cell.outputs:
            if output.output_type == "error" and "raises-exception" not in cell.metadata.get("tags", []):
                yield f"cell {cell.id} ends with an error: {output.ename}"
            if output.get("name") == "stderr":
                yield f"cell {cell.id} writes to stderr: {output.text.strip()[:80]}"
            for mime in output.get("data", {}):
                if mime.startswith("image/") and not output.metadata.get(mime, {}).get("alt", "").strip():
                    yield f"cell {cell.id} shows a picture without an alt text"
            if place := PLACES.search(str(output)):
                yield f"cell {cell.id} shows a path of this machine: {place.group()}…"


def _text(notebook: Any, folder: Path) -> Iterator[str]:
    first, prose = notebook.cells[0].source, _prose(notebook)
    if not re.match(r"# \w", first):
        yield "it does not begin with a title"
    for heading in HEADINGS:
        if f"**{heading}**" not in first:
            yield f'its first cell does not say "{heading}"'
    for section in SECTIONS:
        if f"\n{section}\n" not in f"\n{prose}\n":
            yield f'it has no section "{section}"'
    for image in IMAGE.finditer(prose):
        if not image["alt"].strip():
            yield f"the picture {image['file']} has no alt text"
        if not (folder / image["file"]).is_file():
            yield f"there is no picture {image['file']}"
    for link in LINK.finditer(prose):
        if not (folder / link["file"]).is_file():
            yield f"there is no {link['file']}"
    for file in re.findall(r"`([\w/]+\.(?:py|ipynb|toml|md))`", prose):
        if not (TOP / file).exists():
            yield f"there is no file {file}"
    for name in re.findall(r"\blab\.(\w+)", prose + "".join(cell.source for cell in _code(notebook))):
        if name not in lab.__all__:
            yield f"there is no lab.{name}"
    for cell in notebook.cells:
        if place := PLACES.search(cell.source):
            yield f"cell {cell.id} names a path of one machine: {place.group()}…"


def _solutions(notebook: Any) -> Iterator[str]:
    """A solution is folded, ends with its check, and is right; before it the check says "not yet"."""
    checks = [cell for cell in _code(notebook) if cell.source.splitlines()[-1].startswith("lab.check_")]
    for cell in checks:
        solution = "solution" in cell.metadata.get("tags", [])
        shown = "".join(output.get("data", {}).get("text/plain", "") for output in cell.outputs)
        if not shown.startswith("✓" if solution else "✗"):
            yield f"cell {cell.id}: a check {'after' if solution else 'before'} the solution says {shown[:40]!r}"
        if solution and not cell.metadata.get("jupyter", {}).get("source_hidden"):
            yield f"cell {cell.id}: the solution is not folded"
    if not any("solution" in cell.metadata.get("tags", []) for cell in checks):
        yield "it has no exercise with a solution that is checked"


def _exercises(notebook: Any) -> Iterator[str]:
    """Each has a check that is not right yet, a solution that is, and a typical mistake that is told apart."""
    name, found = "", {"": {"unsolved", "solution", "mistake"}}
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and (exercise := re.search(r"\*\*(Exercise \d)\.\*\*", cell.source)):
            name = exercise[1]
            found[name] = set()
        elif cell.cell_type == "code" and "lab.check_" in cell.source.splitlines()[-1]:
            tags = cell.metadata.get("tags", [])
            found[name].add(next((tag for tag in ("solution", "mistake") if tag in tags), "unsolved"))
    for name, parts in found.items():
        if missing := {"unsolved", "solution", "mistake"} - parts:
            yield f"{name} has no check of its {', '.join(sorted(missing))}"
