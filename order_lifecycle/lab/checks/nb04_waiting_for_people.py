"""Check the exercises of notebook 04: an approval after days, and the answers of two Updates."""

from __future__ import annotations

from typing import Any

from order_lifecycle.lab.checks.base import Check
from order_lifecycle.lab.views.timeline import Timeline

DAY = 86400.0  # s


def check_waited(picture: Any, days: float) -> Check:
    """Check that the order of this timeline waited for at least `days` and was then approved."""
    reviews = (
        [span for span in picture.spans if span.kind == "wait"]
        if isinstance(picture, Timeline)
        else []
    )
    waited = (reviews[0].end or reviews[0].start) - reviews[0].start if reviews else 0.0
    wrong = None
    if picture is ...:
        wrong = (
            "There is no timeline yet. "
            "Hint: after the approval, `picture = await lab.timeline(handle)`."
        )
    elif not reviews:
        wrong = (
            "This is not the timeline of an order that was reviewed. "
            "Hint: `await lab.timeline(handle)`."
        )
    elif reviews[0].end is None:
        wrong = (
            "The order still waits. "
            "Hint: `await handle.execute_update(OrderWorkflow.approve)`, then draw it again."
        )
    elif reviews[0].outcome == "ok":
        wrong = (
            f"Its deadline passed after {waited / DAY:.1f} days. "
            "Hint: skip less time, then approve."
        )
    elif not any(span.step == "approve_order" for span in picture.spans):
        wrong = "It was not approved. Hint: `await handle.execute_update(OrderWorkflow.approve)`."
    elif waited < days * DAY:
        enough = round(waited / DAY, 1) >= days
        how_long = f"a little less than {days:g}" if enough else f"{waited / DAY:.1f}"
        wrong = (
            f"It waited for {how_long} days. "
            "Hint: start it with `to=far_client`, wait until it is `awaiting_review`, "
            "then `await skipping.skip(days=…)`, and only then approve it."
        )
    return Check(
        wrong, f"It was approved after {waited / DAY:.1f} days, and you did not have to wait."
    )


def check_answers(answers: Any) -> Check:
    """Check the answers to an approval that was sent twice: accepted, then refused."""
    wrong = None
    if not isinstance(answers, list | tuple) or len(answers) != 2:
        wrong = (
            f"The two answers should be in a list, not {answers!r}. "
            "Hint: `answers = [await …, await …]`."
        )
    elif all(answer is None for answer in answers):
        wrong = (
            "There are no answers yet. "
            "Hint: `await handle.execute_update(OrderWorkflow.approve)` returns an UpdateResult."
        )
    elif answers[1] == "Workflow update failed":
        wrong = (
            "That is the message of the outer error. Its cause has the reason. "
            "Hint: `error.cause.message`."
        )
    elif answers[0] != "approved":
        wrong = (
            f"The first answer should be 'approved', not {answers[0]!r}. "
            "Hint: the `message` of the UpdateResult, for an order that nobody has approved before."
        )
    elif answers[1] != "already approved":
        wrong = (
            f"The second answer should be 'already approved', not {answers[1]!r}. "
            "Hint: approve the same order twice, "
            "and return `error.cause.message` if the Update is refused."
        )
    return Check(wrong, "The sender of an Update learns whether it was accepted and, if not, why.")
