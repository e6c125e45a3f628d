"""The checks of notebook 08 name the right answer and each mistake.

The notebook itself shows the mistakes that need orders.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest

from order_lifecycle import lab

Step = Callable[[], Awaitable[None]]


async def unsolved(charge: Step, pack: Step, refund: Step) -> None:
    await charge()
    await pack()


async def charge_outside_of_the_try(charge: Step, pack: Step, refund: Step) -> None:
    await charge()
    try:
        await pack()
    except BaseException:
        await refund()
        raise


async def only_exceptions(charge: Step, pack: Step, refund: Step) -> None:
    try:
        await charge()
        await pack()
    except Exception:
        await refund()
        raise


async def interrupted_by_a_second_cancel(charge: Step, pack: Step, refund: Step) -> None:
    try:
        await charge()
        await pack()
    except BaseException:
        await refund()
        raise


async def shielded_and_left_behind(charge: Step, pack: Step, refund: Step) -> None:
    try:
        await charge()
        await pack()
    except BaseException:
        await asyncio.shield(asyncio.ensure_future(refund()))
        raise


async def always(charge: Step, pack: Step, refund: Step) -> None:
    try:
        await charge()
        await pack()
    finally:
        await refund()


async def silent(charge: Step, pack: Step, refund: Step) -> None:
    with suppress(BaseException):
        await interrupted_by_a_second_cancel(charge, pack, refund)


async def once_more_after_each_cancel(charge: Step, pack: Step, refund: Step) -> None:
    try:
        await charge()
        await pack()
    except BaseException:
        while True:
            try:
                await refund()
                break
            except asyncio.CancelledError:
                continue
        raise


async def only_one_more_cancel(charge: Step, pack: Step, refund: Step) -> None:
    try:
        await charge()
        await pack()
    except BaseException:
        undo = asyncio.ensure_future(refund())
        try:
            await asyncio.wait([undo])
        except asyncio.CancelledError:
            await asyncio.wait([undo])
        raise


async def deaf_while_it_charges(charge: Step, pack: Step, refund: Step) -> None:
    try:
        await charge()
    except Exception:
        await refund()
        raise
    await right(nothing, pack, refund)


async def returns_the_error(charge: Step, pack: Step, refund: Step) -> BaseException | None:
    try:
        await right(charge, pack, refund)
    except BaseException as error:
        return error
    return None


async def twice(charge: Step, pack: Step, refund: Step) -> None:
    try:
        await right(charge, pack, refund)
    except BaseException:
        await refund()
        raise


async def silent_about_the_charge(charge: Step, pack: Step, refund: Step) -> None:
    try:
        await charge()
    except ValueError:
        await refund()
        return
    await right(nothing, pack, refund)


async def nothing() -> None:
    pass


async def right(charge: Step, pack: Step, refund: Step) -> None:
    try:
        await charge()
        await pack()
    except BaseException:
        undo = asyncio.ensure_future(refund())
        while not undo.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([undo])
        raise


@pytest.mark.parametrize(
    ("saga", "says"),
    [
        (right, "✓ Right"),
        (unsolved, "✗ Not yet. `pack` failed, but there was no refund"),
        (charge_outside_of_the_try, "✗ Not yet. `charge` failed, but there was no refund"),
        (only_exceptions, "✗ Not yet. It was cancelled while it packed, but there was no refund"),
        (interrupted_by_a_second_cancel, "✗ Not yet. It was cancelled while it refunded, and ended before"),
        (only_one_more_cancel, "✗ Not yet. It was cancelled while it refunded, and ended before"),
        (deaf_while_it_charges, "✗ Not yet. It was cancelled while it charged, but there was no refund"),
        (returns_the_error, "✗ Not yet. `pack` failed, but `saga` did not raise the error again"),
        (shielded_and_left_behind, "✗ Not yet. It was cancelled while it refunded, and ended before"),
        (always, "✗ Not yet. No step failed, and these steps were done: charge, pack, refund"),
        (silent, "✗ Not yet. `pack` failed, but `saga` did not raise the error again"),
        (silent_about_the_charge, "✗ Not yet. `charge` failed, but `saga` did not raise the error again"),
        (once_more_after_each_cancel, "✗ Not yet. `refund` was called 4 times"),
        (twice, "✗ Not yet. `refund` was called 2 times"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_the_check_of_the_saga_names_each_mistake(
    saga: Callable[[Step, Step, Step], Awaitable[object]], says: str
) -> None:
    said = str(lab.check_saga(saga))
    assert said.startswith(says)
    assert said.startswith("✓") or "Hint: " in said
