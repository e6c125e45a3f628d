"""Checks for what others send to an order: no message may end the order, or hold it up."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar, cast, get_type_hints

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError

from order_lifecycle.domain import Address

W = TypeVar("W")  # the workflow
P = ParamSpec("P")


def refuse_if(why: str | None) -> None:
    """Refuse an Update for this reason, if there is one."""
    if why is not None:
        raise ApplicationError(why, type="RefusedError", non_retryable=True)


def check_address(address: Address) -> None:
    """Raise TypeError if this is no Address.

    Temporal's converters for bytes, null and protobuf ignore the type that a handler asks for.
    """
    if not isinstance(address, Address):
        raise TypeError(f"an address is expected, not {type(address).__name__}")


def ignore_malformed(
    handler: Callable[Concatenate[W, P], None],
) -> Callable[Concatenate[W, P], None]:
    """Let a signal's handler drop a malformed signal.

    A signal without its argument would otherwise fail the workflow, without its refund. (The SDK
    refuses such an Update by itself.)

    The arguments are read here, because the SDK would log a traceback for each that it cannot read.
    Ten thousand tracebacks take longer than the 2 s that a worker gives to a workflow task.
    """
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
            workflow.logger.warning("dropped a malformed signal: %s", type(error).__name__)

    # The SDK takes the types from the annotations and the signature: all arguments are raw.
    as_sent = [parameter.replace(annotation=RawValue) for parameter in parameters]
    handle.__annotations__ = dict.fromkeys((it.name for it in as_sent), RawValue)
    handle.__dict__["__signature__"] = inspect.Signature([this, *as_sent])
    return cast(Callable[Concatenate[W, P], None], handle)
