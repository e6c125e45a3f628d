"""What a handler of an order's signals must not do: end the order."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from temporalio import workflow

W = TypeVar("W")  # the workflow
P = ParamSpec("P")


def harmless(
    handler: Callable[Concatenate[W, P], Awaitable[None] | None],
) -> Callable[Concatenate[W, P], Coroutine[Any, Any, None]]:
    """A signal that cannot end the order. One that was sent without its argument would otherwise
    fail the workflow there and then, past every refund. (Whoever sends such an Update is merely
    refused.)"""

    @wraps(handler)
    async def handle(order: W, /, *args: P.args, **kwargs: P.kwargs) -> None:
        try:
            handled = handler(order, *args, **kwargs)
            if handled is not None:
                await handled
        except Exception:
            workflow.logger.warning("dropped a signal that makes no sense", exc_info=True)

    return handle
