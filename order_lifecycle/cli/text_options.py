"""Read the text of an option: it stands there, in a file (`@items.json`), or in standard input."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

from order_lifecycle.domain import BadInputError

STANDARD_INPUT = "-"
MAX_BYTES = 1_000_000  # bytes; the largest order has some 50,000


def read_text_option(option: str, text: str) -> str:
    """Return the text that the option names. Raises BadInputError if it cannot be read."""
    if text == STANDARD_INPUT:
        return _decoded(option, "standard input", _standard_input(option))
    if text.startswith("@"):
        name = text[1:]
        return _decoded(option, name, _file(option, name))
    try:
        text.encode()
    except UnicodeEncodeError:
        # Where the locale is ASCII, Python leaves everything else undecoded.
        with suppress(UnicodeError):
            return os.fsencode(text).decode()
    return text


def _file(option: str, name: str) -> bytes:
    if not name:
        raise BadInputError(
            f"{option}: after the @ there is no name of a file, as in @{option}.json"
        )
    try:
        with Path(name).open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except IsADirectoryError:
        why = "it is a folder"
    except ValueError:
        why = "no file can have that name"
    except OSError as error:
        why = error.strerror or str(error)
    raise BadInputError(f"{option}: the file {name!a} cannot be read: {why}")


def _standard_input(option: str) -> bytes:
    try:
        if sys.stdin is None:
            raise OSError("it is closed")
        return sys.stdin.buffer.read(MAX_BYTES + 1)
    except OSError as error:
        why = error.strerror or str(error)
    raise BadInputError(f"{option}: standard input cannot be read: {why}")


def _decoded(option: str, where: str, content: bytes) -> str:
    name = where if where == "standard input" else f"the file {where!a}"
    if len(content) > MAX_BYTES:
        raise BadInputError(
            f"{option}: {name} has more than {MAX_BYTES} bytes, which no order needs"
        )
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise BadInputError(f"{option}: {name} is in UTF-16: save it in UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInputError(
            f"{option}: {name} is not text in UTF-8 (byte {error.start + 1}): save it in UTF-8"
        ) from None
