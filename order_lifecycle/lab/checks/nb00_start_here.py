"""Check the exercises of notebook 00: the duties of the parts, and workers that run."""

from __future__ import annotations

from typing import Any

from order_lifecycle.lab.checks.base import (
    Check,
)
from order_lifecycle.lab.process import LabProcess

PARTS = ("workflow", "activity", "server", "worker", "client", "PostgreSQL")
# Each duty, the part that has it, and a hint. "The client does not …" must be a sentence.
DUTIES = {
    "say that the charge comes after the approval": (
        "workflow",
        "which part describes the life of an order?",
    ),
    "call the carrier": ("activity", "everything that touches the outside world is an activity."),
    "keep the record of which steps are done": (
        "server",
        "an order goes on from this record after a worker has crashed.",
    ),
    "run your code": (
        "worker",
        "who takes tasks from a queue? The server hands them out, and never runs your code.",
    ),
    "send the approval": ("client", "the approval is a signal, and a signal comes from outside."),
    "know next year what an order cost": (
        "PostgreSQL",
        "the business keeps its tables for years.",
    ),
}


def check_parts(whose: Any) -> Check:
    """Check that the dict `whose` names for each duty the part that has it."""
    if not isinstance(whose, dict):
        wrong = f"Expected a dict, got {type(whose).__name__}."
        return Check(f"{wrong} Hint: leave the braces and the duties as they are.", "")
    choose = f"Hint: choose one of {', '.join(PARTS)}."
    for duty, (part, hint) in DUTIES.items():
        said = whose.get(duty, ...)
        if said is ...:
            return Check(f"No part is chosen yet to {duty}. {choose}", "")
        if said not in PARTS:
            return Check(
                f"{said!r} cannot {duty}, because it is not one of the parts. {choose}", ""
            )
        if said != part:
            name = said if said == "PostgreSQL" else f"The {said}"
            return Check(f"{name} does not {duty}. Hint: {hint}", "")
    return Check(None, "Each of the six parts has one duty.")


def check_running(*workers: LabProcess) -> Check:
    """Check that all these workers run."""
    ended = [worker for worker in workers if not worker.alive]
    wrong = None
    if ended:
        name = ended[0].name.replace(" ", "_")
        have = "has" if len(ended) == 1 else "have"
        wrong = f"The {' and the '.join(worker.name for worker in ended)} {have} ended. "
        if not ended[0].newest:
            wrong += (
                f"You have started another since, but `{name}` is still the one that has ended. "
            )
        wrong += f"Hint: `{name} = lab.start_worker(…)`."
    return Check(wrong, "Both workers run.")
