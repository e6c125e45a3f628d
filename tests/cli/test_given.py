"""`--items` and `--address` take JSON, a file, or standard input."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from order_lifecycle.cli.text_options import MAX_BYTES, read_text_option
from order_lifecycle.domain import BadInputError
from tests.support.command_line import Answer

ITEMS = '[{"name":"苹果","qty":1,"price":5.00}]'
ADDRESS = '{"address":"1-1 Chiyoda","city":"千代田区","country":"JP"}'
ACCEPTED = "no Temporal server: TEMPORAL_HOST is not set"  # the order is right, and there is no server
Command = Callable[..., Answer]


def start(run: Command, items: str, address: str) -> Answer:
    return run("start", "abc-001", "123", "--items", items, "--address", address)


def type_in(content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_items_and_address_can_come_from_files(inside: Command, mark: str) -> None:
    Path("items.json").write_text(mark + ITEMS)
    Path("my address.json").write_text(mark + ADDRESS + "\r\n")
    assert start(inside, "@items.json", "@my address.json").refuses(ACCEPTED)
    assert start(inside, "@" + os.path.abspath("items.json"), ADDRESS).refuses(ACCEPTED)


@pytest.mark.parametrize("which", ["items", "address"])
def test_items_or_address_can_come_from_standard_input(
    inside: Command, which: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    type_in((ITEMS if which == "items" else ADDRESS).encode("utf-8-sig"), monkeypatch)
    assert start(inside, *("-", ADDRESS) if which == "items" else (ITEMS, "-")).refuses(ACCEPTED)


def test_a_new_address_can_come_from_standard_input(inside: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    type_in(ADDRESS.encode(), monkeypatch)
    assert inside("update-address", "abc-001", "--address", "-").refuses(ACCEPTED)


def test_items_and_address_cannot_both_come_from_standard_input(inside: Command) -> None:
    assert start(inside, "-", "-").refuses("standard input can be read only once", status=2)


def test_a_file_that_cannot_be_read_is_named(inside: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("folder").mkdir()
    Path("utf-16.json").write_text(ITEMS, "utf-16")
    Path("latin-1.json").write_text("é", "latin-1")
    Path("large.json").write_text(" " * (MAX_BYTES + 1))
    Path("empty.json").write_text("")
    for name, says in {
        "@no-such.json": "the file 'no-such.json' cannot be read: No such file or directory",
        "@folder": "the file 'folder' cannot be read: it is a folder",
        "@": "there is no file name after the @. Write for example @items.json",
        "@a\0b": "no file can have that name",
        "@utf-16.json": "is in UTF-16: save it in UTF-8",
        "@latin-1.json": "is not text in UTF-8 (byte 1): save it in UTF-8",
        "@large.json": f"has more than {MAX_BYTES} bytes",
        "@empty.json": "not JSON: it is empty",
        "no-such.json": "to read a file, write an @ before its name",
    }.items():
        assert start(inside, name, ADDRESS).refuses(f"items: {says}" if says.startswith("the ") else says, status=2)
    monkeypatch.setattr(sys, "stdin", None)
    assert start(inside, "-", ADDRESS).refuses("items: standard input cannot be read: it is closed", status=2)


def test_a_file_without_permission_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_permission(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", no_permission)  # root may read everything
    with pytest.raises(BadInputError, match=r"items: the file 'items.json' cannot be read: Permission denied"):
        read_text_option("items", "@items.json")


def test_an_argument_that_the_locale_cannot_decode_is_restored() -> None:
    assert read_text_option("items", ITEMS.encode().decode("ascii", "surrogateescape")) == ITEMS
    assert read_text_option("items", ITEMS) == ITEMS
    assert read_text_option("items", "\ud800\udcff") == "\ud800\udcff"
