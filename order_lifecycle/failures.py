"""What a failure says on its way to Temporal.

Temporal keeps the last failure of a step that is tried again, if it has at most 4 KB. Of a larger
one, `status` and the Web UI show only "Failure exceeds size limit." An error of the database's
passes that with the tracebacks of its causes. So a failure is shortened where it begins: to the
innermost cause, in a line, and the end of the traceback.
"""

from __future__ import annotations

from sqlalchemy.exc import SQLAlchemyError
from temporalio.api.failure.v1 import Failure
from temporalio.converter import DefaultFailureConverter, PayloadConverter
from temporalio.exceptions import ApplicationError, FailureError

from order_lifecycle.db.errors import describe

# In bytes of UTF-8. Together they stay below Temporal's limit, and below 2 KB, where it warns.
_MESSAGE_LIMIT = 800
_TRACEBACK_LIMIT = 800
_LIMIT = 1900


class ShortFailures(DefaultFailureConverter):
    """Temporal's own converter, for failures that are short enough to be kept."""

    def to_failure(
        self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure
    ) -> None:
        if not isinstance(exception, FailureError):
            exception = _without_causes(exception)
        super().to_failure(exception, payload_converter, failure)
        failure.message = _cut(failure.message, _MESSAGE_LIMIT)
        failure.stack_trace = _end(failure.stack_trace, _TRACEBACK_LIMIT)
        # The innermost cause is what people ask for, so causes between go first.
        while failure.ByteSize() > _LIMIT and failure.cause.HasField("cause"):
            inner = Failure()
            inner.CopyFrom(failure.cause.cause)
            failure.cause.CopyFrom(inner)
        if failure.ByteSize() > _LIMIT and failure.HasField("application_failure_info"):
            failure.application_failure_info.ClearField("details")


def plain_words(error: BaseException) -> str:
    """Say what went wrong in one line, which names the innermost cause first."""
    inner: BaseException = error
    seen = {id(error)}  # causes may go in a circle
    # The driver's own error, below SQLAlchemy's, says less.
    while not isinstance(inner, SQLAlchemyError):
        cause = inner.__cause__
        if cause is None or id(cause) in seen:
            break
        seen.add(id(cause))
        inner = cause
    words = _words(inner)
    outer = "" if inner is error else str(error)
    if outer and outer not in words:
        words = f"{words} ({outer})"
    return _cut(" ".join(words.split()), _MESSAGE_LIMIT)


def _words(error: BaseException) -> str:
    if isinstance(error, SQLAlchemyError):
        return describe(error)
    text = str(getattr(error, "message", None) or error)
    kind = type(error).__name__
    # Our own exceptions are sentences. One of Python's may be no more than a key.
    return f"{kind}: {text}".removesuffix(": ") if _is_pythons(error) or not text else text


def _is_pythons(error: BaseException) -> bool:
    return type(error).__module__ == "builtins"


def _without_causes(error: BaseException) -> ApplicationError:
    plain = ApplicationError(plain_words(error), type=type(error).__name__)
    plain.__traceback__ = error.__traceback__
    plain.__suppress_context__ = True
    return plain


def _cut(text: str, limit: int) -> str:
    """Keep the beginning, whole characters of it."""
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= limit:
        return encoded.decode()
    return encoded[: limit - 3].decode("utf-8", "ignore") + "…"


def _end(text: str, limit: int) -> str:
    """Keep the end, whole lines of it if there are any."""
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= limit:
        return encoded.decode()
    kept = encoded[-limit + 4 :].decode("utf-8", "ignore")
    return "…\n" + (kept.partition("\n")[2] or kept)
