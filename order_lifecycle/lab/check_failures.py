"""Checks of the exercises about what fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from order_lifecycle.domain import Refused
from order_lifecycle.faults import OutsideError, OutsideTimeout
from order_lifecycle.lab.check import Check, _row

Call = Callable[[], str]


def check_failed_unpaid(order_id: str) -> Check:
    """Did the order fail before it was charged?"""
    order, payment = _row("orders", order_id), _row("payments", order_id)
    wrong = None
    if order is None:
        wrong = f"There is no order {order_id}. Hint: a new worker with `always_fail`, then `await start(…)`."
    elif payment is not None:
        wrong = f"{order_id} is {order['state']}, and it was charged before. Hint: which steps come before the charge?"
    elif order["state"] != "failed":
        wrong = f"{order_id} is {order['state']}. Hint: wait for its end, and see which step it is that never works."
    return Check(wrong, f"{order_id} has failed, and no money was ever moved.")


def check_retries(with_retries: Callable[[Call, int], str | None]) -> Check:
    """Does `with_retries(call, tries)` call again after what may pass, at most so often, and not after Refused?"""
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


def _ends_well(with_retries: Callable[[Call, int], Any]) -> str | None:
    call = _Calls(OutsideError("no"), OutsideTimeout("silence"))
    try:
        result = with_retries(call, 5)
    except (OutsideError, OutsideTimeout) as error:
        return (
            f"A call that works at its third attempt ended with {type(error).__name__}. "
            "Hint: catch OutsideError and OutsideTimeout, both."
        )
    if result != "done":
        return f"The call returned 'done', and the function {result!r}. Hint: `return call()`, in a loop."
    return None if call.count == 3 else f"It called {call.count} times what works at the third. Hint: return at once."


def _no_use(with_retries: Callable[[Call, int], Any]) -> str | None:
    call = _Calls(*[Refused("no, and never")] * 5)
    try:
        with_retries(call, 5)
    except Refused:
        if call.count == 1:
            return None
        return f"What was Refused was tried {call.count} times. Hint: `except Exception` catches Refused too."
    return "Refused was swallowed. Hint: catch only OutsideError and OutsideTimeout."


def _gives_up(with_retries: Callable[[Call, int], Any]) -> str | None:
    call = _Calls(*[OutsideError("no")] * 20)
    try:
        with_retries(call, 5)
    except OutsideError:
        return None if call.count == 5 else f"With 5 tries it called {call.count} times. Hint: count from 1 to `tries`."
    return "After its last try it should raise what that one raised. Hint: `raise`, without anything after it."
