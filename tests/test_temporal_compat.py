"""The assumptions of order_lifecycle/temporal_compat.py about the SDK still hold."""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path

from temporalio import activity, workflow
from temporalio.converter import DataConverter

from order_lifecycle.temporal_compat import PlainDataConverter, is_activity, is_workflow

TOP = Path(__file__).parents[1]
COMPAT = TOP / "order_lifecycle" / "temporal_compat.py"
PRIVATE = re.compile(r"__temporal_\w+_definition|__temporal_error_identifier|handle\._client|_payload_sequence")


@activity.defn
def step() -> None: ...


@workflow.defn
class Life:
    @workflow.run
    async def run(self) -> None: ...


def test_decorated_activities_are_recognised() -> None:
    assert is_activity(step)
    assert is_workflow(Life)
    assert not is_activity(test_decorated_activities_are_recognised)
    assert not is_workflow(PlainDataConverter)


def test_the_overridden_methods_exist_in_the_sdk() -> None:
    """Overriding a method that the SDK no longer calls would silently do nothing."""
    own = {name for name in vars(PlainDataConverter) if name.endswith("_payload_sequence")}
    assert own
    assert own <= set(dir(DataConverter))


def test_the_module_names_the_installed_version_of_the_sdk() -> None:
    assert f"Checked with temporalio {version('temporalio')}." in COMPAT.read_text()


def test_no_other_module_uses_private_parts_of_the_sdk() -> None:
    files = (TOP / "order_lifecycle").rglob("*.py")
    assert [path.name for path in files if path != COMPAT and PRIVATE.search(path.read_text())] == []
