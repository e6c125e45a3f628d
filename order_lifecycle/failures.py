"""Shorten failures before they are sent to Temporal.

Temporal keeps the last failure of an activity that it retries, but only up to 4 KB. For a larger
one, `status` and the Web UI show only "Failure exceeds size limit." A database error exceeds that
limit with the tracebacks of its causes. So this module keeps the innermost cause, in one line, and
the end of the traceback.
"""

from __future__ import annotations

from sqlalchemy.exc import SQLAlchemyError
from temporalio.api.failure.v1 import Failure
from temporalio.converter import DefaultFailureConverter, PayloadConverter
from temporalio.exceptions import ApplicationError, FailureError

from order_lifecycle.db.errors import describe

# In bytes of UTF-8. `_LIMIT` is for the whole failure; from 2 KB on, Temporal logs a warning.
_MESSAGE_LIMIT = 800
_TRACEBACK_LIMIT = 800
_LIMIT = 1900


class ShortFailures(DefaultFailureConverter):
    """Temporal's own failure converter, which also shortens each failure to less than 2 KB."""

    def to_failure(
        self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure
    ) -> None:
        """Write the exception into `failure`, shortened."""
        if not isinstance(exception, FailureError):
            exception = _without_causes(exception)
        super().to_failure(exception, payload_converter, failure)
        failure.message = _first_part(failure.message, _MESSAGE_LIMIT)
        failure.stack_trace = _last_part(failure.stack_trace, _TRACEBACK_LIMIT)
        # Drop the causes in the middle first: the innermost one says what went wrong.
        while failure.ByteSize() > _LIMIT and failure.cause.HasField("cause"):
            inner = Failure()
            inner.CopyFrom(failure.cause.cause)
            failure.cause.CopyFrom(inner)
        if failure.ByteSize() > _LIMIT and failure.HasField("application_failure_info"):
            failure.application_failure_info.ClearField("details")


def summarise(error: BaseException) -> str:
    """Summarise an error in one line, with the innermost cause first."""
    inner: BaseException = error
    seen = {id(error)}  # causes may form a circle
    # Stop at SQLAlchemy's error, because `describe` needs it and not the driver's error below it.
    while not isinstance(inner, SQLAlchemyError):
        cause = inner.__cause__
        if cause is None or id(cause) in seen:
            break
        seen.add(id(cause))
        inner = cause
    summary = _message(inner)
    outer = "" if inner is error else str(error)
    if outer and outer not in summary:
        summary = f"{summary} ({outer})"
    return _first_part(" ".join(summary.split()), _MESSAGE_LIMIT)


def _message(error: BaseException) -> str:
    if isinstance(error, SQLAlchemyError):
        return describe(error)
    text = str(getattr(error, "message", None) or error)
    kind = type(error).__name__
    # The text of a built-in exception may be only a key, so name the exception, too.
    return f"{kind}: {text}".removesuffix(": ") if _is_builtin(error) or not text else text


def _is_builtin(error: BaseException) -> bool:
    return type(error).__module__ == "builtins"


def _without_causes(error: BaseException) -> ApplicationError:
    plain = ApplicationError(summarise(error), type=type(error).__name__)
    plain.__traceback__ = error.__traceback__
    plain.__suppress_context__ = True
    return plain


def _first_part(text: str, limit: int) -> str:
    """Return the beginning of the text, at most `limit` bytes, without half a character."""
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= limit:
        return encoded.decode()
    return encoded[: limit - 3].decode("utf-8", "ignore") + "…"


def _last_part(text: str, limit: int) -> str:
    """Return the end of the text, at most `limit` bytes, in whole lines if possible."""
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= limit:
        return encoded.decode()
    kept = encoded[-limit + 4 :].decode("utf-8", "ignore")
    return "…\n" + (kept.partition("\n")[2] or kept)
