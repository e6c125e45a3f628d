"""Logs of the workers: readable lines, or with LOG_JSON=true one JSON object a line, for a log
collector. And their metrics, with METRICS_ADDRESS, which is a matter of the same Runtime.

What a workflow logs is written once, when it happens, and not again when its history is replayed
(`workflow.logger` sees to that).
"""

from __future__ import annotations

import logging
import re
import sys
from datetime import UTC, datetime
from io import StringIO
from typing import Any, TextIO

import structlog
from structlog.typing import ExcInfo
from temporalio import activity, workflow
from temporalio.runtime import (
    LogForwardingConfig,
    LoggingConfig,
    PrometheusConfig,
    Runtime,
    TelemetryConfig,
    TelemetryFilter,
)

from order_lifecycle.db.errors import is_known
from order_lifecycle.domain import BadInputError
from order_lifecycle.failures import plain_words
from order_lifecycle.temporal_compat import LOG_KEY_OF_ERRORS
from order_lifecycle.visible import visible, visible_lines

# Failures of a step that are part of an order's life. They are told in a line, as are troubles of
# the database's (see db/errors.py); any other one keeps its traceback.
EXPECTED = frozenset(
    {
        "RefusedError",
        "AnotherRunError",
        "OutsideError",
        "OutsideTimeoutError",
        "AddressChangedError",
    }
)

WANTED = ("order", "workflow_id", "step", "attempt", "before", "after")

# Of an order's workflow, and of its children's, one for each try at shipping it.
ORDER_OF = re.compile(r"order-(.+)|ship-(.+)-\d+")

# Both formatters would show the variables of every function on the way, a database's password among
# them.
TRACEBACK_AS_JSON = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)


def configure(as_json: bool, metrics_address: str | None = None) -> None:
    """Send all logging of this process to standard error, structured; and serve the SDK's metrics
    at that address, for Prometheus. Raises BadInputError if nothing can be served there."""
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso" if as_json else "%H:%M:%S", utc=as_json),
        structlog.stdlib.ExtraAdder(),
        _tell_in_our_words,
    ]
    last: list[Any] = (
        [
            structlog.processors.ExceptionRenderer(TRACEBACK_AS_JSON),
            structlog.processors.JSONRenderer(),
        ]
        if as_json
        else [
            _visible,
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(),
                pad_event_to=0,
                sort_keys=False,
                exception_formatter=_traceback,
            ),
        ]
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("temporalio.worker").setLevel(logging.WARNING)
    # Temporal's context arrives as fields of the line; the message need not repeat it.
    workflow.logger.workflow_info_on_message = False
    activity.logger.activity_info_on_message = False
    # The SDK's core is written in Rust and logs by itself, unless it is told to hand its lines
    # over.
    core = LoggingConfig(
        filter=TelemetryFilter(core_level="WARN", other_level="ERROR"),
        forwarding=LogForwardingConfig(logger=logging.getLogger("temporalio.core")),
    )
    metrics = (
        PrometheusConfig(bind_address=metrics_address, durations_as_seconds=True)
        if metrics_address
        else None
    )
    try:
        Runtime.set_default(Runtime(telemetry=TelemetryConfig(logging=core, metrics=metrics)))
    except ValueError as error:
        raise BadInputError(
            f"METRICS_ADDRESS: nothing can be served at {metrics_address} ({error})"
        ) from None


def _visible(_: object, __: str, line: dict[str, Any]) -> dict[str, Any]:
    """Write hidden characters as escapes: what a customer wrote must not act on a terminal. (JSON
    has escapes of its own.)"""
    return {name: visible(text) if isinstance(text, str) else text for name, text in line.items()}


def _traceback(into: TextIO, failure: ExcInfo) -> None:
    """Write a traceback, in whose last line anything may stand."""
    plain = StringIO()
    structlog.dev.plain_traceback(plain, failure)
    into.write(visible_lines(plain.getvalue()))


def _tell_in_our_words(_: object, __: str, line: dict[str, Any]) -> dict[str, Any]:
    """Keep of Temporal's own context what identifies the order, its step and the attempt."""
    if line.pop("temporal_log", None) is not None:
        # From the first " {" on it is the core's own context, in Rust's notation.
        line["event"] = str(line["event"]).split(" {")[0]
    context = line.pop("temporal_workflow", {})
    context.pop("attempt", None)  # of the workflow, of which there is one
    context = {**context, **line.pop("temporal_activity", {})}
    line.pop(LOG_KEY_OF_ERRORS, None)
    if "activity_type" in context:
        context["step"] = context["activity_type"]
    if found := ORDER_OF.fullmatch(str(context.get("workflow_id", ""))):
        context["order"] = found[1] or found[2]
    for name in WANTED:
        if name in context:
            line.setdefault(name, context[name])
    failure = line["_record"].exc_info
    if failure and failure[0] is not None:
        kind = failure[0].__name__
        if kind in EXPECTED or is_known(failure[1]):
            line.pop("exc_info", None)
            line["_record"].exc_info = None
            line["error"] = f"{kind}: {plain_words(failure[1])}"
    if failure and activity.in_activity():  # how long the attempt took that failed
        line["took"] = round((datetime.now(UTC) - activity.info().started_time).total_seconds(), 3)
    return line
