"""How a command gives its answer: as text, as a table, or in JSON."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from order_lifecycle import streams
from order_lifecycle.cli import text_table
from order_lifecycle.cli.errors import AnswerNotWrittenError


def write_answer(
    answer: Any, as_json: bool, text: str | Callable[[], object], *, done: str = ""
) -> None:
    """Write the answer. `done`: what has changed the order, even if nobody can read the answer.

    Raises AnswerNotWrittenError if standard output does not take it.
    """
    try:
        if as_json:
            streams.write_json(answer)
        elif isinstance(text, str):
            streams.write(text)
        else:
            text()
    except streams.UnwritableError as error:
        if not done:
            raise
        raise AnswerNotWrittenError(
            f"{done} was done ({text}), but {describe_write_error(error)}"
        ) from None


def show_table(title: str, rows: Sequence[dict[str, Any]]) -> None:
    """Show rows to a reader. Raises streams.UnwritableError."""
    streams.write(text_table.table(title, rows, streams.width()) + "\n")


def describe_write_error(error: streams.UnwritableError) -> str:
    """Say why standard output does not take an answer."""
    return f"standard output cannot be written: {error.strerror or error}"
