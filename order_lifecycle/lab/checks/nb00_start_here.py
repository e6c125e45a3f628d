"""Check the exercises of notebook 00: who does what, and workers that run."""

from __future__ import annotations

from typing import Any

from order_lifecycle.lab.checks.base import (
    Check,
)
from order_lifecycle.lab.process import LabProcess

PARTS = ("workflow", "activity", "server", "worker", "client", "PostgreSQL")
# Each duty, whose it is, and a hint.
DUTIES = {
    "say that the charge comes after the approval": (
        "workflow",
        "the order of the steps is the order's life.",
    ),
    "call the carrier": ("activity", "whatever touches the world outside is an activity."),
    "keep the record of which steps are done": (
        "server",
        "it is what an order goes on from after a crash.",
    ),
    "run your code": (
        "worker",
        "who takes tasks from a queue? The server hands them out, and never runs your code.",
    ),
    "send the approval": ("client", "it is a message to the workflow, from outside: a signal."),
    "know next year what an order cost": (
        "PostgreSQL",
        "the tables are the business's own, and are there to stay.",
    ),
}


def check_parts(whose: Any) -> Check:
    """Does `whose` name the part that has each duty?"""
    if not isinstance(whose, dict):
        wrong = f"That is no dict, but {type(whose).__name__}."
        return Check(f"{wrong} Hint: leave the braces and the duties as they are.", "")
    for duty, (part, hint) in DUTIES.items():
        said = whose.get(duty, ...)
        if said is ...:
            return Check(f"Nobody is there yet to {duty}. Hint: one of {', '.join(PARTS)}.", "")
        if said not in PARTS:
            return Check(f"To {duty}: {said!r} is no part. Hint: one of {', '.join(PARTS)}.", "")
        if said != part:
            return Check(f"To {duty} is not for the {said}. Hint: {hint}", "")
    return Check(None, "Each of the six has one duty, and none does another's.")


def check_running(*workers: LabProcess) -> Check:
    """Do all these workers run?"""
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
