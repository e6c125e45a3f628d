"""Call Temporal for a command, and say in a sentence why it refused."""

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
    """Raises CommandError if Temporal does: no such namespace, no permission, the connection is
    lost."""
    from temporalio.service import RPCError

    _say_nothing_of_retries()
    try:
        process.run(command)
    except RPCError as error:
        raise CommandError(_of_temporal(error.message)) from None
    except NoServerError as error:
        full = _full_disk()
        raise CommandError(f"{full}. So {error}") if full else error from None
    except KeyboardInterrupt:
        raise CommandInterruptedError("interrupted") from None


async def answer_from(call: Coroutine[Any, Any, T], order_id: str) -> T:
    """Return the order's answer.

    Raises CommandError if the order refuses, is not there or has ended, or if no worker answers in
    time, and CommandInterruptedError after Ctrl-C.
    """
    from temporalio.client import (
        WorkflowUpdateFailedError,
        WorkflowUpdateRPCTimeoutOrCancelledError,
    )
    from temporalio.service import RPCError

    may_still_happen = (
        f"What was asked may still be done: `order-lifecycle status {order_id}` shows it"
    )
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT.total_seconds()):
            return await call
    except WorkflowUpdateFailedError as error:
        if getattr(error.cause, "type", None) == "AcceptedUpdateCompletedWorkflow":
            raise _too_late(order_id) from None
        raise CommandError(getattr(error.cause, "message", str(error.cause))) from None
    except (TimeoutError, WorkflowUpdateRPCTimeoutOrCancelledError, asyncio.CancelledError):
        # The SDK reports a cancelled call as one that timed out.
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise CommandInterruptedError(
                f"interrupted while order {order_id} was to answer. {may_still_happen}"
            ) from None
        raise CommandError(
            f"order {order_id} did not answer within {ANSWER_TIMEOUT.total_seconds():g} s: "
            f"is a worker running? `order-lifecycle worker all` starts both. {may_still_happen}"
        ) from None
    except RPCError as error:
        raise await _said_no(error, order_id) from None


async def _said_no(error: RPCError, order_id: str) -> Exception:
    """Return what to raise for `error`.

    The server has several answers to a request that meets the end of an order, and some are those
    to an order that never was. So the order itself is looked up.
    """
    from temporalio.service import RPCError, RPCStatusCode

    from order_lifecycle.client import connect, workflow_id
    from order_lifecycle.reconciliation import repair_hint, trouble_of

    # A namespace that is not there is NOT_FOUND too, and says so. (The workflow is named as well,
    # and an order may be called anything.)
    said = error.message.replace(workflow_id(order_id), "").lower()
    if error.status is RPCStatusCode.INVALID_ARGUMENT and "signal events" in said:
        return CommandError(
            f"order {order_id} was sent so many signals that Temporal takes no more. "
            "Leave out --signal: an Update is still answered"
        )
    met_the_end = (
        RPCStatusCode.NOT_FOUND,
        RPCStatusCode.ABORTED,
        RPCStatusCode.FAILED_PRECONDITION,
    )
    is_closing = "workflow is closing" in said  # RESOURCE_EXHAUSTED, for a moment
    if "namespace" in said or not (is_closing or error.status in met_the_end):
        return error
    try:
        description = await (await connect()).get_workflow_handle(workflow_id(order_id)).describe()
    except RPCError as missing:
        if missing.status is not RPCStatusCode.NOT_FOUND:
            return missing
        return CommandError(
            f"there is no order {order_id}: `order-lifecycle list` shows those that there are"
        )
    if description.close_time is not None:
        trouble = trouble_of(description)
        return (
            CommandError(f"too late: {trouble}; {repair_hint(order_id)}")
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


def _say_nothing_of_retries() -> None:
    """Keep the warnings of the SDK's core off the terminal: the command's own answer says what went
    wrong, in the end."""
    from temporalio.runtime import LoggingConfig, Runtime, TelemetryConfig, TelemetryFilter

    errors = TelemetryFilter(core_level="ERROR", other_level="ERROR")
    with suppress(RuntimeError):  # in a notebook's kernel, where a client was made before
        Runtime.set_default(
            Runtime(telemetry=TelemetryConfig(logging=LoggingConfig(filter=errors)))
        )


def _of_temporal(message: str) -> str:
    """Say why Temporal says no. A server that cannot write its data names no cause itself."""
    full = _full_disk()
    return (
        f"Temporal cannot write its data ({message}): {full}"
        if full
        else f"Temporal says no: {message}"
    )


def _full_disk() -> str | None:
    """Return the sentence for a full disk, if the data of our own servers is on one."""
    from order_lifecycle.settings import STACK_FILE
    from order_lifecycle.stack.home import disk_is_full, full_disk_message

    told = Settings()
    home = told.order_lifecycle_home
    ours = told.temporal_host is None and (home / STACK_FILE).exists()
    return full_disk_message(home) if ours and disk_is_full(home) else None
