"""The standard streams: write any text to any terminal, pipe or file, and end well without it."""

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

# What our own texts have that is not ASCII, for a terminal that cannot show it.
_IN_ASCII = str.maketrans(
    {"…": "...", "→": "->", "×": "x", "–": "-", "—": "-", "✓": "+", "✗": "x", "─": "-", "·": "*"}
)


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    r"""Replace what an encoding cannot say: our own signs by similar ones, the rest by `\u5343`."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    replaced = error.object[error.start : error.end].translate(_IN_ASCII)
    return replaced.encode("ascii", "backslashreplace").decode(), error.end


codecs.register_error("order_lifecycle", _in_ascii)


class UnwritableError(OSError):
    """Standard output does not take what is written to it. (A broken pipe stays one.)"""


class _Output(io.TextIOWrapper):
    """Standard output, whose errors can be told from those of any other file."""

    def write(self, text: str) -> int:
        with _unwritable_errors():
            return super().write(text)

    def flush(self) -> None:
        with _unwritable_errors():
            super().flush()


class _Closed(io.TextIOBase):
    """Standard output that was closed before this process began."""

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
    """Let standard output and standard error take any text, whatever their encoding."""
    for stream in (0, 1, 2):
        try:
            os.fstat(stream)
        except OSError:  # nothing that is opened later may get its number
            os.open(os.devnull, os.O_RDWR)
    if sys.stdout is None:
        sys.stdout = _Closed()
    elif sys.stdout is sys.__stdout__ and type(sys.stdout) is io.TextIOWrapper:
        before = sys.stdout
        options = before.encoding, "order_lifecycle", None, before.line_buffering
        sys.stdout = _Output(before.detach(), *options)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115, it stays open
    for text in (sys.stdout, sys.stderr):
        if isinstance(text, io.TextIOWrapper):
            text.reconfigure(errors="order_lifecycle")


def width() -> int | None:
    """Return the width of the terminal that standard output is, or None if it is none."""
    if not sys.stdout.isatty():
        return None
    # COLUMNS wins. Without it, shutil asks the first standard output, which `prepare` replaced.
    its_own = os.get_terminal_size(sys.stdout.fileno()).columns or 80
    return shutil.get_terminal_size((its_own, 24)).columns


def write(text: str) -> None:
    """Write lines of ours, in which nothing of an order acts on the terminal. Raises
    UnwritableError.
    """
    _write(visible_lines(text))


def write_json(answer: Any) -> None:
    """Write one line of JSON; in ASCII where the stream cannot take more. Raises
    UnwritableError.
    """
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    ascii_only = codecs.lookup(encoding).name != "utf-8"
    _write(visible_json(json.dumps(answer, default=str, ensure_ascii=ascii_only)))


def _write(text: str) -> None:
    print(text, flush=True)


def discard_output() -> None:
    """Give up standard output, so that Python does not try to write the rest as it ends."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
