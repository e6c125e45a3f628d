"""Configure the logs and the metrics of a worker.

Logs are readable lines or, with LOG_JSON=true, one JSON object a line for a log collector. Metrics
are served at METRICS_ADDRESS. They are configured here because logs and metrics share the SDK's
Runtime.

`workflow.logger` writes nothing during a replay, so each line of a workflow appears once.
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
from order_lifecycle.failures import summarise
from order_lifecycle.temporal_compat import LOG_KEY_OF_ERRORS
from order_lifecycle.visible import visible, visible_lines

# A step may fail with these in normal operation. They are logged in one line, as are the errors of
# the database that db/errors.py knows. Any other error is logged with its traceback.
EXPECTED_ERRORS = frozenset(
    {
        "RefusedError",
        "AnotherRunError",
        "OutsideError",
        "OutsideTimeoutError",
        "AddressChangedError",
    }
)

CONTEXT_FIELDS = ("order", "workflow_id", "step", "attempt", "before", "after")

# The workflow ID of an order, and of each of its tries at shipping.
WORKFLOW_ID = re.compile(r"order-(.+)|ship-(.+)-\d+")

# structlog's default formatters also print local variables, and one of them may be the database's
# password.
TRACEBACK_AS_JSON = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)


def configure(as_json: bool, metrics_address: str | None = None) -> None:
    """Write all logs of this process to standard error, and serve the SDK's metrics.

    Args:
        as_json: Write one JSON object a line instead of readable text.
        metrics_address: IP address and port that Prometheus reads from; None for no metrics.

    Raises:
        BadInputError: The metrics cannot be served at this address.
    """
    processors: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso" if as_json else "%H:%M:%S", utc=as_json),
        structlog.stdlib.ExtraAdder(),
        _shorten_context,
    ]
    renderers: list[Any] = (
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
            foreign_pre_chain=processors,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
        )
    )
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("temporalio.worker").setLevel(logging.WARNING)
    # The SDK also passes its context as fields, so keep it out of the message.
    workflow.logger.workflow_info_on_message = False
    activity.logger.activity_info_on_message = False
    # The SDK's core is written in Rust. It writes its own logs unless it forwards them to Python.
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
            f"METRICS_ADDRESS: cannot serve metrics at {metrics_address} ({error}). "
            "Choose another address"
        ) from None


def _visible(_: object, __: str, line: dict[str, Any]) -> dict[str, Any]:
    """Escape hidden characters, because a customer's text must not control a terminal.

    JSON needs no such step: it has its own escapes.
    """
    return {name: visible(text) if isinstance(text, str) else text for name, text in line.items()}


def _traceback(into: TextIO, failure: ExcInfo) -> None:
    """Write a traceback, and escape hidden characters in it: it may have a customer's text."""
    plain = StringIO()
    structlog.dev.plain_traceback(plain, failure)
    into.write(visible_lines(plain.getvalue()))


def _shorten_context(_: object, __: str, line: dict[str, Any]) -> dict[str, Any]:
    """Keep only the order, the step and the attempt of the context that the SDK adds to a line."""
    if line.pop("temporal_log", None) is not None:
        # From the first " {" on, the message is the core's context in Rust's notation.
        line["event"] = str(line["event"]).split(" {")[0]
    context = line.pop("temporal_workflow", {})
    context.pop("attempt", None)  # always 1, because the workflows have no retry policy
    context = {**context, **line.pop("temporal_activity", {})}
    line.pop(LOG_KEY_OF_ERRORS, None)
    if "activity_type" in context:
        context["step"] = context["activity_type"]
    if found := WORKFLOW_ID.fullmatch(str(context.get("workflow_id", ""))):
        context["order"] = found[1] or found[2]
    for name in CONTEXT_FIELDS:
        if name in context:
            line.setdefault(name, context[name])
    failure = line["_record"].exc_info
    if failure and failure[0] is not None:
        kind = failure[0].__name__
        if kind in EXPECTED_ERRORS or is_known(failure[1]):
            line.pop("exc_info", None)
            line["_record"].exc_info = None
            line["error"] = f"{kind}: {summarise(failure[1])}"
    if failure and activity.in_activity():  # the duration of the failed attempt
        line["took"] = round((datetime.now(UTC) - activity.info().started_time).total_seconds(), 3)
    return line
