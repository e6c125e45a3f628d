"""Whatever the prose names exists: files, headings, commands, and each name written `like this`."""

from __future__ import annotations

import asyncio
import importlib
import pkgutil
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import nbformat
import temporalio.activity
import temporalio.testing
import temporalio.workflow

import order_lifecycle
from order_lifecycle import lab
from order_lifecycle.cli.app import COMMANDS
from order_lifecycle.lessons import deploy

from .cells import TOP, code, prose, shown
from .outputs import MARKDOWN_IMAGE

LINK = re.compile(r"(?<!!)\[[^\]]+\]\((?P<file>[^)#:\s]*)(?:#(?P<heading>[^)\s]+))?\)")
SPAN = re.compile(r"`([^`]+)`")
FILE = re.compile(r"[\w./-]+/[\w./-]*|[\w-]+\.(?:py|ipynb|toml|md|ya?ml|cfg|ini|txt|sql|svg|json|sh)")
COMMAND = re.compile(r"(?:order-lifecycle|python -m order_lifecycle) +(\w[\w-]*)")
ATTRIBUTE = re.compile(r"(?<![\w.])([A-Za-z_]\w*)\.([A-Za-z_]\w*)")
WORD = re.compile(r"[A-Za-z_]\w*…?")

MODULES = {
    "lab": lab,
    "deploy": deploy,
    "workflow": temporalio.workflow,
    "activity": temporalio.activity,
    "asyncio": asyncio,
    "WorkflowEnvironment": temporalio.testing.WorkflowEnvironment,
}
# Words that nothing of ours has, and where they are from.
ELSEWHERE = {
    "TEMPORAL_ADDRESS": "https://docs.temporal.io/develop/environment-configuration",
    "heartbeat_timeout": "https://python.temporal.io/temporalio.workflow.html",
    "map_histories": "https://python.temporal.io/temporalio.client.WorkflowExecutionAsyncIterator.html",
    "temporal_workflow_task_schedule_to_start_latency": "https://docs.temporal.io/references/sdk-metrics",
    "AUTO_UPGRADE": "https://python.temporal.io/temporalio.common.VersioningBehavior.html",
    "maximum_attempts": "https://python.temporal.io/temporalio.common.RetryPolicy.html",
    "scale": "https://docs.docker.com/reference/cli/docker/compose/up/",
    "temporal_worker_task_slots_available": "https://docs.temporal.io/references/sdk-metrics",
}


def faults(notebook: Any, folder: Path) -> Iterator[str]:
    text = prose(notebook)
    for image in MARKDOWN_IMAGE.finditer(text):
        if not (folder / image["file"]).is_file():
            yield f"there is no picture {image['file']}"
    for link in LINK.finditer(text):
        yield from _link(link["file"], link["heading"], notebook, folder)
    known = _words(_said(notebook)) | _words_of_the_package() | ELSEWHERE.keys()
    for span in dict.fromkeys(SPAN.findall(text)):
        yield from _span(span, known)


def _link(file: str, heading: str | None, notebook: Any, folder: Path) -> Iterator[str]:
    if file and not (folder / file).is_file():
        yield f"there is no {file}"
    elif heading:
        page = prose(nbformat.read(folder / file, as_version=4) if file else notebook)
        # As JupyterLab makes them.
        anchors = {line.replace(" ", "-") for line in re.findall(r"^#+ +(.+?) *$", page, re.MULTILINE)}
        if heading not in anchors:
            yield f"there is no heading #{heading} in {file or 'this notebook'}"


def _span(span: str, known: set[str]) -> Iterator[str]:
    if FILE.fullmatch(span):
        if not (TOP / span).exists():
            yield f"there is no file {span}"
        return
    if (command := COMMAND.match(span)) and command[1] not in _commands():
        yield f"there is no command {command.group()}"
    if (target := re.fullmatch(r"make (\w+)", span)) and f"\n{target[1]}:" not in (TOP / "Makefile").read_text():
        yield f"there is no {span}"
    qualified = [(owner, name) for owner, name in ATTRIBUTE.findall(span) if _owners(owner)]
    for owner, name in qualified:
        if not any(_has(it, name) for it in _owners(owner)):
            yield f"there is no {owner}.{name}"
    known = known | {word for pair in qualified for word in pair}
    for word in WORD.findall(span):
        begins = word.removesuffix("…")
        if word not in known and (begins == word or not any(each.startswith(begins) for each in known)):
            yield f"nothing is called {word}, as in `{span}`"


def _said(notebook: Any) -> str:
    """Return what the code says and shows."""
    outputs = (text for cell in code(notebook) for output in cell.outputs for text in shown(output))
    return "\n".join([*(cell.source for cell in code(notebook)), *outputs])


def _words(text: str) -> set[str]:
    return {word.removesuffix("…") for word in WORD.findall(text)}


@cache
def _words_of_the_package() -> set[str]:
    files = [*(TOP / "order_lifecycle").rglob("*.py"), TOP / ".env.example"]
    return _words("\n".join(file.read_text() for file in files))


@cache
def _commands() -> set[str]:
    return set(COMMANDS)


def _owners(name: str) -> list[Any]:
    """Return what a name before a dot can mean: one of MODULES, or a class that the package has or uses."""
    return [MODULES[name]] if name in MODULES else _classes()[name]


@cache
def _classes() -> defaultdict[str, list[type]]:
    found = defaultdict(list)
    for module in pkgutil.walk_packages(order_lifecycle.__path__, "order_lifecycle."):
        if not module.name.endswith("__main__"):
            for name, value in vars(importlib.import_module(module.name)).items():
                if isinstance(value, type):
                    found[name].append(value)
    return found


def _has(owner: Any, name: str) -> bool:
    """Return True if the owner has that name. The fields of a model are not attributes of its class."""
    return hasattr(owner, name) or name in getattr(owner, "__annotations__", {})
