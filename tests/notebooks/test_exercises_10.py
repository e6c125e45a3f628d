"""The checks of notebook 10 name the right answer and each mistake, on a real server."""

from __future__ import annotations

import nbformat
import pytest
from temporalio.client import Client

from order_lifecycle import lab
from order_lifecycle.lab.checks.nb10_changing_running_code import CHANGES
from order_lifecycle.lab.servers import LabServers
from order_lifecycle.lessons.deploy import QUEUE
from tests.notebooks.rules import TOP

pytestmark = pytest.mark.usefixtures("lab_servers")

STEP = "await workflow.execute_activity(deploy.pack, order_id, start_to_close_timeout=limit)"


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ({"c", "d"}, "✓ Right"),
        (
            {"b", "c", "d"},
            "✗ Not yet. With b (seven days for the review instead of three) the replay of an old order succ",
        ),
        ({"c"}, "✗ Not yet. With d (a pause of a minute before the charge) the replay of an old order fails"),
        (set(), "✗ Not yet. With c (ship first, charge afterwards) the replay of an old order fails"),
        ({"c", "e"}, "✗ Not yet. {'"),
        ("cd", "✗ Not yet. 'cd' is not a set of these letters. Hint: choose from a, b, c, d"),
        (5, "✗ Not yet. 5 is not a set of these letters. Hint: choose from a, b, c, d"),
        ([["c"]], "✗ Not yet. [['c']] is not a set of these letters. Hint: choose from a, b, c, d"),
        (..., "✗ Not yet. There is no answer"),
    ],
)
def test_the_check_of_which_changes_need_a_patch_names_each_mistake(answer: object, says: str) -> None:
    said = str(lab.check_changes(answer))
    assert said.startswith(says)
    assert said.startswith("✓") or "Hint: " in said


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (f'if workflow.patched("pack"):\n    {STEP}', "✓ Right"),
        (f'    if workflow.patched("pack"):\n        {STEP}\n', "✓ Right"),
        (
            STEP,
            "✗ Not yet. An order that has passed this place cannot go on: Activity type of scheduled event 'ship'",
        ),
        (f'workflow.deprecate_patch("pack")\n{STEP}', "✗ Not yet. An order that has passed this place cannot go on"),
        (
            f'if not workflow.patched("pack"):\n    {STEP}',
            "✗ Not yet. An order that has passed this place cannot go on",
        ),
        ('workflow.patched("pack")', "✗ Not yet. A new order is not packed"),
        (
            f'if workflow.patched("pack"):\n    {STEP}\n    {STEP}',
            "✗ Not yet. The steps of a new order are receive, charge, pack,",
        ),
        (
            'if workflow.patched("pack"):\n    await pack()',
            "✗ Not yet. A new order fails: NameError: name 'pack' is not defined. Hint: write the step as in",
        ),
        (
            f'if patched("pack"):\n    {STEP}',
            "✗ Not yet. A new order fails: NameError: name 'patched' is not defined. Hint: the function is",
        ),
        (f'if workflow.patch("pack"):\n    {STEP}', "✗ Not yet. A new order fails: AttributeError: "),
        (
            f'if workflow.patched("pack"):\n    {STEP.removeprefix("await ")}',
            "✗ Not yet. A new order is not packed. Hint: for a new order `workflow.patched` is True. Is the step",
        ),
        ("if workflow.patched", "✗ Not yet. Python cannot read the lines"),
        ("\n...\n", "✗ Not yet. There are no lines yet"),
        (..., "✗ Not yet. There are no lines yet"),
    ],
)
def test_the_check_of_the_patch_names_each_mistake(lines: object, says: str) -> None:
    said = str(lab.check_patch(lines))
    assert said.startswith(says)
    assert said.startswith("✓") or "Hint: " in said


async def test_the_check_of_an_orders_build_names_each_mistake(lab_servers: LabServers) -> None:
    client = await Client.connect(lab_servers.temporal_host)

    async def buy(order_id: str) -> None:
        await client.start_workflow("SmallOrder", order_id, id=order_id, task_queue=QUEUE)

    await buy("nobody-works")
    assert "has no build yet" in str(lab.check_build("nobody-works", "1"))
    assert "There is no workflow" in str(lab.check_build("never-bought", "1"))

    workers = {
        build: lab.start_lesson_worker(f"deploy.{code}", build)
        for build, code in (("1", "v1_initial"), ("2", "v2_breaking"))
    }
    await lab.promote(client, "2")
    await buy("too-early")
    await lab.wait_until(lambda: lab.check_build("too-early", "2").ok, "a worker to take it")
    await lab.promote(client, "1")
    assert "too-early is on build 2, and stays there" in str(lab.check_build("too-early", "1"))
    await buy("in-time")
    await lab.wait_until(lambda: lab.check_build("in-time", "1").ok, "a worker to take it")
    for worker in workers.values():
        worker.stop()


def test_the_notebook_lists_the_changes_that_its_check_knows() -> None:
    notebook = nbformat.read(TOP / "notebooks" / "10_changing_running_code.ipynb", as_version=4)
    prose = "\n".join(cell.source for cell in notebook.cells)
    for letter, change in CHANGES.items():
        assert f"- `{letter}`: {change.what}\n" in f"{prose}\n"
