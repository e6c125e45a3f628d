"""Make a module from text: the sandbox must be able to import the module of a workflow."""

from __future__ import annotations

import importlib
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from types import ModuleType

_numbers = count(1)


@contextmanager
def module_of(source: str) -> Iterator[ModuleType]:
    """Yield a module with this source, and remove it at the end.

    Raises:
        Exception: What the module raises when it is imported.
    """
    name = f"from_a_notebook_{next(_numbers)}"
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / f"{name}.py").write_text(source)
        sys.path.insert(0, folder)
        try:
            yield importlib.import_module(name)
        finally:
            sys.path.remove(folder)
            sys.modules.pop(name, None)
