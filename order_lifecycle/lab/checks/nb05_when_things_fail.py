"""Checks of the exercises about what fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from order_lifecycle.domain import RefusedError
from order_lifecycle.faults import OutsideError, OutsideTimeoutError
from order_lifecycle.lab.checks.base import Check, no_order_message, row_of

Call = Callable[[], str]
TRIES = 5


def check_failed_unpaid(order_id: str) -> Check:
    """Did the order fail before it was charged?"""
    order, payment = row_of("orders", order_id), row_of("payments", order_id)
    wrong = None
    if order is None:
        wrong = no_order_message(
            order_id, "a new worker with `always_fail`, then `await start(…)`."
        )
    elif payment is not None:
        wrong = (
            f"{order_id} is {order['state']}, and it was charged before. "
            "Hint: which steps come before the charge? And is yours the only order worker?"
        )
    elif order["state"] != "failed":
        wrong = (
            f"{order_id} is {order['state']}. "
            "Hint: wait for its end, and see which step it is that never works."
        )
    return Check(wrong, f"{order_id} has failed, and no money was ever moved.")


def check_retries(with_retries: Callable[[Call, int], str | None]) -> Check:
    """Does `with_retries(call, tries)` call again after what may pass, at most so often, and not
    after RefusedError?"""
    return Check(
        _ends_well(with_retries) or _no_use(with_retries) or _gives_up(with_retries),
        "It tries again what may pass, and knows when to stop.",
    )


class _Calls:
    """A call that fails like this, one error after the other, and then works."""

    def __init__(self, *errors: Exception) -> None:
        self.count = 0
        self._errors = errors

    def __call__(self) -> str:
        self.count += 1
        if self.count <= len(self._errors):
            raise self._errors[self.count - 1]
        return "done"


def _try(with_retries: Callable[[Call, int], Any], call: Call) -> Any:
    """What it returns, or the exception that it raises."""
    try:
        return with_retries(call, TRIES)
    except Exception as error:
        return error


def _ends_well(with_retries: Callable[[Call, int], Any]) -> str | None:
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
            f"Hint: it is called as `with_retries(call, {TRIES})`, and `call()` takes nothing."
        )
    if result != "done":
        return (
            f"The call returned 'done', and the function {result!r}. "
            "Hint: `return call()`, in a loop."
        )
    return (
        None
        if call.count == 3
        else f"It called {call.count} times what works at the third. Hint: return at once."
    )


def _no_use(with_retries: Callable[[Call, int], Any]) -> str | None:
    call = _Calls(*[RefusedError("no, and never")] * TRIES)
    result = _try(with_retries, call)
    if not isinstance(result, RefusedError):
        return (
            f"A RefusedError should be raised at once, but {_told(result)}. "
            "Hint: leave RefusedError alone."
        )
    if call.count == 1:
        return None
    return (
        f"A RefusedError was tried {call.count} times. "
        "Hint: `except Exception` catches RefusedError too."
    )


def _gives_up(with_retries: Callable[[Call, int], Any]) -> str | None:
    call = _Calls(*[OutsideError("no")] * 4 * TRIES)
    result = _try(with_retries, call)
    if not isinstance(result, OutsideError):
        if result == "done":
            hint = "count the tries, and after `tries` of them, `raise`."
        else:
            hint = (
                "in the last try, `raise` within the `except`. "
                "After the loop there is nothing left to raise."
            )
        return (
            "After its last try it should raise what that one raised, "
            f"but {_told(result)}. Hint: {hint}"
        )
    if call.count == TRIES:
        return None
    return f"With {TRIES} tries it called {call.count} times. Hint: count from 1 to `tries`."


def _told(result: Any) -> str:
    return (
        f"it raises {type(result).__name__}"
        if isinstance(result, Exception)
        else f"it returns {result!r}"
    )
