"""What a handler of an order's signals must not do: end the order, or hold it up."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar, cast, get_type_hints

from temporalio import workflow
from temporalio.common import RawValue

W = TypeVar("W")  # the workflow
P = ParamSpec("P")


def ignore_malformed(
    handler: Callable[Concatenate[W, P], None],
) -> Callable[Concatenate[W, P], None]:
    """Drop a signal that makes no sense. One that was sent without its argument would otherwise
    fail the workflow, past every refund. (Whoever sends such an Update is merely refused.)

    The arguments are read here. The SDK would log a traceback for each that it cannot read; ten
    thousand of those take longer than the 2 s that a worker gives a workflow."""
    hints = get_type_hints(handler)
    this, *parameters = inspect.signature(handler).parameters.values()
    types = [hints[parameter.name] for parameter in parameters]

    @wraps(handler)
    def handle(order: W, *raw: RawValue) -> None:
        try:
            payloads = [value.payload for value in raw]
            read = workflow.payload_converter().from_payloads(payloads, types[: len(payloads)])
            cast(Callable[..., None], handler)(order, *read)
        except Exception as error:
            workflow.logger.warning(
                "dropped a signal that makes no sense: %s", type(error).__name__
            )

    # What the SDK goes by: every argument as it came.
    as_sent = [parameter.replace(annotation=RawValue) for parameter in parameters]
    handle.__annotations__ = dict.fromkeys((it.name for it in as_sent), RawValue)
    handle.__dict__["__signature__"] = inspect.Signature([this, *as_sent])
    return cast(Callable[Concatenate[W, P], None], handle)
