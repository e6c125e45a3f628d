"""Write any text to standard output, whatever its encoding, and report when that fails."""

from __future__ import annotations

import codecs
import io
import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from order_lifecycle.visible import visible_json, visible_lines

# Our own messages use these signs. A terminal that knows only ASCII gets the replacements.
_IN_ASCII = str.maketrans(
    {"…": "...", "→": "->", "×": "x", "–": "-", "—": "-", "✓": "+", "✗": "x", "─": "-", "·": "*"}
)


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    r"""Replace characters that an encoding does not have.

    Our own signs become similar ones in ASCII. Other characters become escapes such as `\u5343`.
    """
    if not isinstance(error, UnicodeEncodeError):
        raise error
    replaced = error.object[error.start : error.end].translate(_IN_ASCII)
    return replaced.encode("ascii", "backslashreplace").decode(), error.end


codecs.register_error("order_lifecycle", _in_ascii)


class UnwritableError(OSError):
    """A write to standard output failed. A broken pipe stays a BrokenPipeError."""


class _Output(io.TextIOWrapper):
    """Standard output that raises UnwritableError in place of another OSError."""

    def write(self, text: str) -> int:
        with _unwritable_errors():
            return super().write(text)

    def flush(self) -> None:
        with _unwritable_errors():
            super().flush()


class _Closed(io.TextIOBase):
    """Standard output that was closed before this process started."""

    encoding = "utf-8"

    def write(self, _: str) -> int:
        raise UnwritableError("it is closed")


@contextmanager
def _unwritable_errors() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UnwritableError(error.errno, error.strerror) from None


def prepare() -> None:
    """Make standard output and standard error accept any text.

    Call it before the first write. A write to a standard output that is closed then raises
    UnwritableError, and what goes to a closed standard error is lost.
    """
    for stream in (0, 1, 2):
        try:
            os.fstat(stream)
        except OSError:  # the next file that is opened would get its number
            os.open(os.devnull, os.O_RDWR)
    if sys.stdout is None:
        sys.stdout = _Closed()
    elif sys.stdout is sys.__stdout__ and type(sys.stdout) is io.TextIOWrapper:
        before = sys.stdout
        options = before.encoding, "order_lifecycle", None, before.line_buffering
        sys.stdout = _Output(before.detach(), *options)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115, it must stay open
    for text in (sys.stdout, sys.stderr):
        if isinstance(text, io.TextIOWrapper):
            text.reconfigure(errors="order_lifecycle")


def width() -> int | None:
    """Return the terminal's width in characters, or None if standard output is no terminal."""
    if not sys.stdout.isatty():
        return None
    # The variable COLUMNS wins. Without it, shutil asks the original standard output, which
    # `prepare` has detached, and falls back on this width.
    terminal_width = os.get_terminal_size(sys.stdout.fileno()).columns or 80
    return shutil.get_terminal_size((terminal_width, 24)).columns


def write(text: str) -> None:
    """Write lines of text, with hidden characters escaped, so that no text controls the terminal.

    Raises:
        UnwritableError: If standard output does not accept the text.
    """
    _write(visible_lines(text))


def write_json(answer: Any) -> None:
    """Write one line of JSON. It has only ASCII unless standard output is UTF-8.

    Raises:
        UnwritableError: If standard output does not accept the text.
    """
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    ascii_only = codecs.lookup(encoding).name != "utf-8"
    _write(visible_json(json.dumps(answer, default=str, ensure_ascii=ascii_only)))


def _write(text: str) -> None:
    print(text, flush=True)


def discard_output() -> None:
    """Send the rest of the output to /dev/null, so that Python does not write it when it exits."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
