"""Show source code of this project in a notebook, read from its file."""

from __future__ import annotations

import ast
import inspect
import textwrap
from pathlib import Path
from typing import Any

from order_lifecycle.lab.waiting import LabError

TOP = Path(__file__).resolve().parents[2]


class Source:
    """Source code, which Jupyter shows with colours."""

    def __init__(self, code: str) -> None:
        """Take the code as it is to be shown."""
        self.code = code

    def __repr__(self) -> str:
        return self.code

    def _repr_markdown_(self) -> str:
        return f"```python\n{self.code}\n```"


def source(thing: Any, begins: str = "") -> Source:
    """Return source code of this project, with the name of its file.

    Args:
        thing: A class, function, method or module of the package, or the Path of a file.
        begins: Return only the statement in it that begins with this text.

    Raises:
        LabError: If no statement begins so.
    """
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
    raise LabError(f"no statement begins with {begins!r}: has the source changed?")
