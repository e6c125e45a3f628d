"""The checks of notebooks 04 and 05 that need no server name the right answer and each mistake.

tests/lab/test_check_waited.py has the first exercise of notebook 04.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from order_lifecycle import lab
from order_lifecycle.domain import OrderState, RefusedError, UpdateResult
from order_lifecycle.faults import OutsideError, OutsideTimeoutError

# --- 04 --------------------------------------------------------------------------------------------------------------

RESULT = UpdateResult(order_id="mine", state=OrderState.AWAITING_REVIEW, message="approved")


@pytest.mark.parametrize(
    ("answers", "says"),
    [
        (["approved", "already approved"], "✓ Right. "),
        (("approved", "already approved"), "✓ Right. "),
        ([None, None], "✗ Not yet. There are no answers yet. Hint: "),
        ((None, None), "✗ Not yet. There are no answers yet. Hint: "),
        (..., "✗ Not yet. The two answers should be in a list, not Ellipsis. Hint: "),
        ("approved", "✗ Not yet. The two answers should be in a list, not 'approved'. Hint: "),
        (["approved"], "✗ Not yet. The two answers should be in a list, not ['approved']. Hint: "),
        ([RESULT, "already approved"], "✗ Not yet. The first answer should be 'approved', not UpdateResult("),
        (["already approved"] * 2, "✗ Not yet. The first answer should be 'approved', not 'already approved'. Hint: "),
        (["approved", None], "✗ Not yet. The second answer should be 'already approved', not None. Hint: "),
        (["approved"] * 2, "✗ Not yet. The second answer should be 'already approved', not 'approved'. Hint: "),
        (["approved", "Workflow update failed"], "✗ Not yet. That is the message of the outer error"),
    ],
)
def test_the_check_of_two_approvals_names_each_mistake(answers: object, says: str) -> None:
    assert str(lab.check_answers(answers)).startswith(says)


# --- 05 --------------------------------------------------------------------------------------------------------------

Call = Callable[[], str]


def right(call: Call, tries: int) -> str:
    for attempt in range(1, tries + 1):
        try:
            return call()
        except (OutsideError, OutsideTimeoutError):
            if attempt == tries:
                raise
    raise AssertionError


def unsolved(call: Call, tries: int) -> None:
    return None


def only_errors(call: Call, tries: int) -> str:
    while True:
        try:
            return call()
        except OutsideError:
            pass


def everything(call: Call, tries: int) -> str:
    for attempt in range(1, tries + 1):
        try:
            return call()
        except Exception:
            if attempt == tries:
                raise
    raise AssertionError


def swallows(call: Call, tries: int) -> str | None:
    try:
        return right(call, tries)
    except RefusedError:
        return None


def says_it_otherwise(call: Call, tries: int) -> str:
    try:
        return right(call, tries)
    except RefusedError:
        raise RuntimeError("no use") from None


def for_ever(call: Call, tries: int) -> str:
    return right(call, 1000)


def once_too_often(call: Call, tries: int) -> str:
    return right(call, tries + 1)


def gives_up_silently(call: Call, tries: int) -> str | None:
    try:
        return right(call, tries)
    except OutsideError:
        return None


def raises_after_the_loop(call: Call, tries: int) -> str:
    for _ in range(tries):
        try:
            return call()
        except (OutsideError, OutsideTimeoutError):
            pass
    raise


def without_the_tries(call: Call) -> str:
    return call()


def calls_with_the_attempt(call: Callable[[int], str], tries: int) -> str:
    return call(1)


def a_name_that_is_not_there(call: Call, tries: int) -> str:
    return right(cal, tries)  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize(
    ("with_retries", "says"),
    [
        (right, "✓ Right. "),
        (unsolved, "✗ Not yet. The call returned 'done', but the function returned None. Hint: "),
        (only_errors, "✗ Not yet. A call that works at its third attempt ended with OutsideTimeoutError. Hint: "),
        (everything, "✗ Not yet. It made 5 calls, but the first had raised RefusedError. Hint: "),
        (swallows, "✗ Not yet. A RefusedError should be raised at once, but it returns None. Hint: "),
        (
            says_it_otherwise,
            "✗ Not yet. A RefusedError should be raised at once, but it raises RuntimeError. Hint: ",
        ),
        (
            for_ever,
            "✗ Not yet. After the last try it should raise the error of that try, but it returns 'done'. Hint: co",
        ),
        (once_too_often, "✗ Not yet. With 5 tries it made 6 calls. Hint: "),
        (gives_up_silently, "✗ Not yet. After the last try it should raise the error of that try, but it returns None"),
        (
            raises_after_the_loop,
            "✗ Not yet. After the last try it should raise the error of that try, but it raises RuntimeError. "
            "Hint: in the last try, `raise` within the `except`.",
        ),
        (without_the_tries, "✗ Not yet. It raises TypeError: "),
        (calls_with_the_attempt, "✗ Not yet. It raises TypeError: "),
        (a_name_that_is_not_there, "✗ Not yet. It raises NameError: name 'cal' is not defined. Hint: "),
        (..., "✗ Not yet. It raises TypeError: 'ellipsis' object is not callable. Hint: "),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_the_check_of_the_retries_names_each_mistake(
    with_retries: Callable[[Call, int], str | None], says: str
) -> None:
    assert str(lab.check_retries(with_retries)).startswith(says)
