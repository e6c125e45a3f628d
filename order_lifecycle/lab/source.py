"""The lines of the package where an idea lives: shown from the file, so that they cannot be out of date."""

from __future__ import annotations

import inspect
import textwrap
from typing import Any


class Source:
    def __init__(self, code: str) -> None:
        self.code = code

    def __repr__(self) -> str:
        return self.code

    def _repr_markdown_(self) -> str:
        return f"```python\n{self.code}\n```"


def source(thing: Any) -> Source:
    """The source of a class, function or method of the package, with the file that it is in."""
    file = (inspect.getmodule(thing).__name__).replace(".", "/")  # type: ignore[union-attr]
    return Source(f"# {file}.py\n{textwrap.dedent(inspect.getsource(thing)).rstrip()}")
