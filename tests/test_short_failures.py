"""A failure that goes to Temporal names its cause, and is never larger than Temporal keeps."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import create_engine
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as NoFreeConnection
from temporalio.api.failure.v1 import Failure
from temporalio.converter import PayloadConverter
from temporalio.exceptions import ApplicationError

from order_lifecycle.domain import RefusedError
from order_lifecycle.failures import ShortFailures, summarise

TEMPORAL_WARNS = 2 * 1024  # bytes; twice as many are refused


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


def encoded(error: BaseException) -> Failure:
    failure = Failure()
    ShortFailures().to_failure(error, PayloadConverter.default, failure)
    return failure


def deep(depth: int) -> BaseException:
    error: BaseException = OSError("the innermost cause")
    for number in range(depth):
        error.__traceback__ = raised(error).__traceback__
        outer = RuntimeError(f"level {number}")
        outer.__cause__ = error
        error = outer
    return raised(error)


def deep_failures(depth: int) -> BaseException:
    error = ApplicationError("the innermost cause", type="Inner")
    for number in range(depth):
        outer = ApplicationError(f"level {number} {'x' * 300}", type="Outer")
        outer.__cause__ = error
        error = outer
    return raised(error)


def recursive() -> BaseException:
    def down(left: int) -> None:
        if left == 0:
            raise ValueError("the innermost cause")
        down(left - 1) if left % 2 else down(left - 2)

    try:
        down(800)
    except ValueError as error:
        return error
    raise AssertionError


def circle() -> BaseException:
    one, two = RuntimeError("the innermost cause"), RuntimeError("the innermost cause, too")
    one.__cause__, two.__cause__ = two, one
    return raised(one)


HUGE: dict[str, Callable[[], BaseException]] = {
    "causes in a circle": circle,
    "a message of 1 MB": lambda: raised(RuntimeError("the innermost cause" + "x" * 1_000_000)),
    "many lines": lambda: raised(RuntimeError("the innermost cause" + "\n" * 1_000_000)),
    "not ASCII": lambda: raised(RuntimeError("the innermost cause " + "千代田区😀" * 100_000)),
    "half a character": lambda: raised(RuntimeError("the innermost cause \ud83d" + "x" * 5000)),
    "deep causes": lambda: deep(300),
    "deep causes that are failures": lambda: deep_failures(50),
    "a deep traceback": recursive,
    "large details": lambda: raised(ApplicationError("the innermost cause", "x" * 1_000_000, type="Inner")),
}


@pytest.mark.parametrize("name", HUGE)
def test_no_failure_is_too_large_for_temporal(name: str) -> None:
    failure = encoded(HUGE[name]())
    assert failure.ByteSize() < TEMPORAL_WARNS
    innermost = failure
    while innermost.HasField("cause"):
        innermost = innermost.cause
    assert "the innermost cause" in innermost.message
    assert "\n" not in innermost.message


def test_a_short_failure_keeps_its_message_type_and_stack_trace() -> None:
    failure = encoded(raised(RefusedError("order abc is cancelled")))
    assert failure.message == "order abc is cancelled"
    assert failure.application_failure_info.type == "RefusedError"  # retry policies go by it
    assert "in raised" in failure.stack_trace
    assert not failure.HasField("cause")


def test_the_innermost_cause_comes_first() -> None:
    outer = RuntimeError("the parcel is lost")
    outer.__cause__ = KeyError("shelf 7")
    assert summarise(outer) == "KeyError: 'shelf 7' (the parcel is lost)"
    assert encoded(outer).application_failure_info.type == "RuntimeError"


def test_a_database_that_refuses_is_named_in_one_line() -> None:
    engine = create_engine("postgresql+psycopg2://me:do-not-tell@127.0.0.1:1/orders")
    with pytest.raises(OperationalError) as error:
        engine.connect()
    failure = encoded(error.value)
    assert failure.message == (
        "PostgreSQL at 127.0.0.1:1 refuses the connection. Is it running, and is the port right?"
    )
    assert failure.application_failure_info.type == "OperationalError"
    assert "do-not-tell" not in str(failure)
    assert failure.ByteSize() < TEMPORAL_WARNS


def test_a_full_pool_is_named() -> None:
    assert "all connections of this process were in use" in summarise(NoFreeConnection("QueuePool limit"))


def test_an_error_without_a_text_is_named_by_its_type() -> None:
    assert summarise(ValueError()) == "ValueError"
