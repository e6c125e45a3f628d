"""Call Temporal for a command, and turn a refusal into one sentence for the user."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from order_lifecycle.cli.errors import CommandError, CommandInterruptedError
from order_lifecycle.settings import NoServerError, Settings
from order_lifecycle.stack import process

if TYPE_CHECKING:
    from temporalio.service import RPCError

T = TypeVar("T")

ANSWER_TIMEOUT = timedelta(seconds=10)


def run(command: Coroutine[Any, Any, None]) -> None:
    """Run the coroutine of a command.

    Raises:
        CommandError: If Temporal refuses (no such namespace, no permission), or if the connection
            is lost.
        CommandInterruptedError: After Ctrl-C.
        NoServerError: If no server answers, and a full disk is not the cause.
    """
    from temporalio.service import RPCError

    _silence_sdk_warnings()
    try:
        process.run(command)
    except RPCError as error:
        raise CommandError(_refusal(error.message)) from None
    except NoServerError as error:
        full = _full_disk()
        raise CommandError(f"{full}. That is why {error}") if full else error from None
    except KeyboardInterrupt:
        raise CommandInterruptedError("interrupted") from None


async def answer_from(call: Coroutine[Any, Any, T], order_id: str) -> T:
    """Wait for the call, and return the order's answer.

    Raises:
        CommandError: If the order refuses, does not exist or has ended, or if no worker answers
            within ANSWER_TIMEOUT.
        CommandInterruptedError: After Ctrl-C.
        RPCError: If Temporal refuses for a reason that is not about this order.
    """
    from temporalio.client import (
        WorkflowUpdateFailedError,
        WorkflowUpdateRPCTimeoutOrCancelledError,
    )
    from temporalio.service import RPCError

    may_still_happen = (
        f"The order may still carry out the request: `order-lifecycle status {order_id}` shows it"
    )
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT.total_seconds()):
            return await call
    except WorkflowUpdateFailedError as error:
        if getattr(error.cause, "type", None) == "AcceptedUpdateCompletedWorkflow":
            raise _too_late(order_id) from None
        raise CommandError(getattr(error.cause, "message", str(error.cause))) from None
    except (TimeoutError, WorkflowUpdateRPCTimeoutOrCancelledError, asyncio.CancelledError):
        # The SDK reports a cancelled call as a timeout, so look at the task.
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise CommandInterruptedError(
                f"interrupted while waiting for order {order_id} to answer. {may_still_happen}"
            ) from None
        raise CommandError(
            f"order {order_id} did not answer within {ANSWER_TIMEOUT.total_seconds():g} s: "
            f"is a worker running? `order-lifecycle worker all` starts both. {may_still_happen}"
        ) from None
    except RPCError as error:
        raise await _explain(error, order_id) from None


async def _explain(error: RPCError, order_id: str) -> Exception:
    """Return the exception to raise for `error`.

    The server answers a request to an ended order in several ways. Some of them are the same for an
    order that never existed. So this looks the order up.
    """
    from temporalio.service import RPCError, RPCStatusCode

    from order_lifecycle.client import connect, workflow_id
    from order_lifecycle.reconciliation import repair_hint, trouble_of

    # An unknown namespace is NOT_FOUND too: only the message differs. Remove the workflow ID from
    # the message first, because an order's ID may contain any of the words that we look for.
    message = error.message.replace(workflow_id(order_id), "").lower()
    if error.status is RPCStatusCode.INVALID_ARGUMENT and "signal events" in message:
        return CommandError(
            f"order {order_id} has so many signals that Temporal accepts no more of them. "
            "Leave out --signal: Temporal still accepts an Update"
        )
    may_have_ended = (
        RPCStatusCode.NOT_FOUND,
        RPCStatusCode.ABORTED,
        RPCStatusCode.FAILED_PRECONDITION,
    )
    is_closing = "workflow is closing" in message  # its status is RESOURCE_EXHAUSTED, for a moment
    if "namespace" in message or not (is_closing or error.status in may_have_ended):
        return error
    try:
        description = await (await connect()).get_workflow_handle(workflow_id(order_id)).describe()
    except RPCError as missing:
        if missing.status is not RPCStatusCode.NOT_FOUND:
            return missing
        return CommandError(
            f"there is no order {order_id}: `order-lifecycle list` shows the orders that exist"
        )
    if description.close_time is not None:
        trouble = trouble_of(description)
        return (
            CommandError(f"too late for order {order_id}: {trouble}; {repair_hint(order_id)}")
            if trouble
            else _too_late(order_id)
        )
    return CommandError(
        f"order {order_id} did not take the request: {error.message}. Send it again"
    )


def _too_late(order_id: str) -> CommandError:
    return CommandError(
        f"too late: order {order_id} has ended, see `order-lifecycle status {order_id}`"
    )


def _silence_sdk_warnings() -> None:
    """Keep the warnings of the SDK's core off the terminal.

    It warns at each retry of a call. The command's own message says what is wrong.
    """
    from temporalio.runtime import LoggingConfig, Runtime, TelemetryConfig, TelemetryFilter

    errors = TelemetryFilter(core_level="ERROR", other_level="ERROR")
    with suppress(RuntimeError):  # a client exists already, in a notebook's kernel
        Runtime.set_default(
            Runtime(telemetry=TelemetryConfig(logging=LoggingConfig(filter=errors)))
        )


def _refusal(message: str) -> str:
    """Say why Temporal refused.

    A server that cannot write its data does not name the cause, so this looks for a full disk.
    """
    full = _full_disk()
    return (
        f"Temporal cannot write its data ({message}): {full}"
        if full
        else f"Temporal refused: {message}"
    )


def _full_disk() -> str | None:
    """Return the message for a full disk if our own servers have their data on one, or None."""
    from order_lifecycle.settings import STACK_FILE
    from order_lifecycle.stack.home import disk_is_full, full_disk_message

    settings = Settings()
    home = settings.order_lifecycle_home
    ours = settings.temporal_host is None and (home / STACK_FILE).exists()
    return full_disk_message(home) if ours and disk_is_full(home) else None
