from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest

from order_lifecycle.cli.app import main
from order_lifecycle.settings import Addresses
from tests.support.command_line import Answer, variables, workers


@pytest.fixture
def inside(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """Run a command in this process, as in `inside("status", "abc-001")`."""

    def run(*arguments: str) -> Answer:
        monkeypatch.setattr(sys, "argv", ["order-lifecycle", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        return Answer(int(end.value.code or 0), *capsys.readouterr())

    return run


@pytest.fixture(scope="module")
def shop(
    new_stack: Callable[[], AbstractContextManager[Addresses]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Addresses]:
    """Start a stack with both workers, where no test of another folder has left a worker."""
    with (
        new_stack() as stack,
        workers({**os.environ, **variables(stack)}, tmp_path_factory.mktemp("workers")),
    ):
        yield stack


@pytest.fixture
def in_shop(shop: Addresses, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let commands find the shop, in this process and in new ones."""
    for name, value in variables(shop).items():
        monkeypatch.setenv(name, value)
