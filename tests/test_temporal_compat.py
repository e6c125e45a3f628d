"""What order_lifecycle/temporal_compat.py takes for granted of the SDK still holds."""

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


def test_what_is_decorated_is_recognised() -> None:
    assert is_activity(step)
    assert is_workflow(Life)
    assert not is_activity(test_what_is_decorated_is_recognised)
    assert not is_workflow(PlainDataConverter)


def test_the_overridden_methods_exist() -> None:
    """An override of a method that nobody calls any more would do nothing, and say nothing."""
    own = {name for name in vars(PlainDataConverter) if name.endswith("_payload_sequence")}
    assert own
    assert own <= set(dir(DataConverter))


def test_it_names_the_version_that_is_installed() -> None:
    assert f"Checked with temporalio {version('temporalio')}." in COMPAT.read_text()


def test_no_other_file_of_the_package_uses_private_parts_of_the_sdk() -> None:
    files = (TOP / "order_lifecycle").rglob("*.py")
    assert [path.name for path in files if path != COMPAT and PRIVATE.search(path.read_text())] == []
