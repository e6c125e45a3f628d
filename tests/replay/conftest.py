"""Workflows with a change in them, and the shop of the workflows' own tests."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from order_lifecycle.workflows import order

Changed = Callable[[ModuleType, str, str], type]


@pytest.fixture
def changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Changed:
    """Return the workflow of that module, changed in a copy of the source as a developer would change it."""

    def make(module: ModuleType, old: str, new: str) -> type:
        source = inspect.getsource(module)
        assert source.count(old) == 1
        name = f"changed_{tmp_path.name}".replace("-", "_")
        (tmp_path / f"{name}.py").write_text(source.replace(old, new))
        monkeypatch.syspath_prepend(tmp_path)
        copy = importlib.import_module(name)
        workflow = getattr(copy, "OrderWorkflow" if module is order else "ShippingWorkflow")
        assert isinstance(workflow, type)
        return workflow

    return make
