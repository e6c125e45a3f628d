"""Write the answer of a command: as text, as a table or in JSON."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from order_lifecycle import streams
from order_lifecycle.cli import text_table
from order_lifecycle.cli.errors import AnswerNotWrittenError


def write_answer(
    answer: Any, as_json: bool, text: str | Callable[[], object], *, done: str = ""
) -> None:
    """Write the answer of a command to standard output.

    Args:
        answer: What `--json` prints.
        as_json: Write `answer` in JSON, and not `text`.
        text: The answer for a reader, or a function that writes it.
        done: The change that the command has made to an order, such as "the cancel".

    Raises:
        AnswerNotWrittenError: If standard output does not accept it, and `done` names a change.
        UnwritableError: If standard output does not accept it, and the command changed nothing.
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
    """Write rows as a table that fits the terminal.

    Raises:
        UnwritableError: If standard output does not accept it.
    """
    streams.write(text_table.table(title, rows, streams.width()) + "\n")


def describe_write_error(error: streams.UnwritableError) -> str:
    """Say in one line that standard output cannot be written, and why."""
    return f"standard output cannot be written: {error.strerror or error}"
