"""Check the exercises of notebook 05: an order that fails unpaid, and a retry loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from order_lifecycle.domain import RefusedError
from order_lifecycle.faults import OutsideError, OutsideTimeoutError
from order_lifecycle.lab.checks.base import Check, no_order_message, row_of

Call = Callable[[], str]
TRIES = 5


def check_failed_unpaid(order_id: str) -> Check:
    """Check that the order failed before it was charged."""
    order, payment = row_of("orders", order_id), row_of("payments", order_id)
    wrong = None
    if order is None:
        wrong = no_order_message(
            order_id, "start a new worker with `always_fail`, then `await start(…)`."
        )
    elif payment is not None:
        wrong = (
            f"{order_id} is {order['state']}, but it was charged. "
            "Hint: which steps come before the charge? Is yours the only order worker?"
        )
    elif order["state"] != "failed":
        wrong = (
            f"{order_id} is {order['state']}. "
            "Hint: wait for its end, and look which step it fails at."
        )
    return Check(wrong, f"{order_id} has failed, and no money was moved.")


def check_retries(with_retries: Callable[[Call, int], str | None]) -> Check:
    """Check that `with_retries(call, tries)` retries the errors that may pass.

    It has to call at most `tries` times, and not again after RefusedError.
    """
    return Check(
        _call_that_recovers(with_retries)
        or _refused_call(with_retries)
        or _call_that_always_fails(with_retries),
        "It retries an error that may pass, and stops after the last try.",
    )


class _Calls:
    """A function that raises these errors, one a call, and then returns "done"."""

    def __init__(self, *errors: Exception) -> None:
        self.count = 0
        self._errors = errors

    def __call__(self) -> str:
        self.count += 1
        if self.count <= len(self._errors):
            raise self._errors[self.count - 1]
        return "done"


def _try(with_retries: Callable[[Call, int], Any], call: Call) -> Any:
    """Return what the learner's function returns or raises."""
    try:
        return with_retries(call, TRIES)
    except Exception as error:
        return error


def _call_that_recovers(with_retries: Callable[[Call, int], Any]) -> str | None:
    call = _Calls(OutsideError("no"), OutsideTimeoutError("silence"))
    result = _try(with_retries, call)
    if isinstance(result, OutsideError | OutsideTimeoutError):
        return (
            f"A call that works at its third attempt ended with {type(result).__name__}. "
            "Hint: catch OutsideError and OutsideTimeoutError, both."
        )
    if isinstance(result, Exception):
        return (
            f"It raises {type(result).__name__}: {result}. "
            f"Hint: the check calls `with_retries(call, {TRIES})`, and `call()` takes no argument."
        )
    if result != "done":
        return (
            f"The call returned 'done', but the function returned {result!r}. "
            "Hint: `return call()`, in a loop."
        )
    return (
        None
        if call.count == 3
        else f"It made {call.count} calls, but the third had worked. Hint: return at once."
    )


def _refused_call(with_retries: Callable[[Call, int], Any]) -> str | None:
    call = _Calls(*[RefusedError("no, and never")] * TRIES)
    result = _try(with_retries, call)
    if not isinstance(result, RefusedError):
        return (
            f"A RefusedError should be raised at once, but {_describe(result)}. "
            "Hint: do not catch RefusedError."
        )
    if call.count == 1:
        return None
    return (
        f"It made {call.count} calls, but the first had raised RefusedError. "
        "Hint: do not catch RefusedError; `except Exception` catches it, too."
    )


def _call_that_always_fails(with_retries: Callable[[Call, int], Any]) -> str | None:
    call = _Calls(*[OutsideError("no")] * 4 * TRIES)
    result = _try(with_retries, call)
    if not isinstance(result, OutsideError):
        if result == "done":
            hint = "count the tries, and after `tries` of them, `raise`."
        else:
            hint = (
                "in the last try, `raise` within the `except`. "
                "After the loop there is no error to raise again."
            )
        return (
            "After the last try it should raise the error of that try, "
            f"but {_describe(result)}. Hint: {hint}"
        )
    if call.count == TRIES:
        return None
    return f"With {TRIES} tries it made {call.count} calls. Hint: count from 1 to `tries`."


def _describe(result: Any) -> str:
    return (
        f"it raises {type(result).__name__}"
        if isinstance(result, Exception)
        else f"it returns {result!r}"
    )
