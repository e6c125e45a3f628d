"""Read the text of an option: from the option, a file (`@items.json`) or standard input (`-`)."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

from order_lifecycle.domain import BadInputError

STANDARD_INPUT = "-"
MAX_BYTES = 1_000_000  # the largest valid order has about 50,000


def read_text_option(option: str, text: str) -> str:
    """Return the text of an option, from the file or standard input if it names one.

    Args:
        option: The option's name, for the error message.
        text: What the user wrote: the text itself, `@` and a file name, or `-`.

    Raises:
        BadInputError: If it cannot be read, is too large, or is not UTF-8.
    """
    if text == STANDARD_INPUT:
        return _decoded(option, "standard input", _standard_input(option))
    if text.startswith("@"):
        name = text[1:]
        return _decoded(option, name, _file(option, name))
    try:
        text.encode()
    except UnicodeEncodeError:
        # If the locale is ASCII, Python does not decode the other bytes of an argument.
        with suppress(UnicodeError):
            return os.fsencode(text).decode()
    return text


def _file(option: str, name: str) -> bytes:
    if not name:
        raise BadInputError(
            f"{option}: there is no file name after the @. Write for example @{option}.json"
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
            f"{option}: {name} has more than {MAX_BYTES} bytes: no valid order is so large"
        )
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise BadInputError(f"{option}: {name} is in UTF-16: save it in UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInputError(
            f"{option}: {name} is not text in UTF-8 (byte {error.start + 1}): save it in UTF-8"
        ) from None
