"""The lines of this project where an idea lives: shown from the file, so never out of date."""

from __future__ import annotations

import ast
import inspect
import textwrap
from pathlib import Path
from typing import Any

from order_lifecycle.lab.waiting import LabError

TOP = Path(__file__).resolve().parents[2]


class Source:
    def __init__(self, code: str) -> None:
        self.code = code

    def __repr__(self) -> str:
        return self.code

    def _repr_markdown_(self) -> str:
        return f"```python\n{self.code}\n```"


def source(thing: Any, begins: str = "") -> Source:
    """The source of a class, function, method or module of the package, or of a file of this
    project (a Path), with the file that it is in. With `begins` only that statement in it which
    begins so. Raises LabError if none does."""
    file = thing if isinstance(thing, Path) else Path(inspect.getfile(inspect.unwrap(thing)))
    where = file.resolve().relative_to(TOP).as_posix()
    text = file.read_text() if isinstance(thing, Path) else inspect.getsource(thing)
    code = textwrap.dedent(text)
    return Source(f"# {where}\n{_statement(code, begins) if begins else code.rstrip()}")


def _statement(code: str, begins: str) -> str:
    lines = code.splitlines()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.stmt) and lines[node.lineno - 1].lstrip().startswith(begins):
            first = min(each.lineno for each in [node, *getattr(node, "decorator_list", [])])
            return textwrap.dedent("\n".join(lines[first - 1 : node.end_lineno]))
    raise LabError(f"nothing there begins with {begins!r}: does it still stand so in the source?")
