"""Modules made of text: a workflow must be in one, which a sandbox imports anew for each run."""

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
    """Inside, there is a module with this source. Raises what importing it raises."""
    name = f"from_a_notebook_{next(_numbers)}"
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / f"{name}.py").write_text(source)
        sys.path.insert(0, folder)
        try:
            yield importlib.import_module(name)
        finally:
            sys.path.remove(folder)
            sys.modules.pop(name, None)
