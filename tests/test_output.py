"""Tables of any width mark each lost character, and no text controls the terminal."""

from __future__ import annotations

import json
import re
import unicodedata
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from order_lifecycle.cli import text_table
from order_lifecycle.domain import Id, OrderState, parse_order_id
from order_lifecycle.visible import visible, visible_json, visible_lines
from tests.support.repeats import examples

NOW = datetime(2026, 12, 1, 10, 20, 30, 456789, tzinfo=UTC)
IDS = st.text("abcXYZ019._-", min_size=1, max_size=64).filter(lambda text: text[0].isalnum())
MONEY = st.decimals(0, Decimal("99999999.99"), places=2).map(str)
WIDTHS = st.integers(40, 250)
STATES = st.sampled_from([state.value for state in OrderState])
NAMES = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=100) | st.just("千代田区" * 20)


def listed(order_id: str, state: str, total: str) -> dict[str, Any]:
    return {"order_id": order_id, "state": state, "total": total, "workflow": "running", "started": NOW}


def payment(payment_id: str, order_id: str, status: str, amount: str) -> dict[str, Any]:
    names = "payment_id", "order_id", "status", "amount", "created_at"
    return dict(zip(names, (payment_id, order_id, status, Decimal(amount), NOW), strict=True))


def no_wider(text: str, width: int, values: list[str]) -> bool:
    """Return True if each line fits, or is a single field that is shown in full."""
    return all(cell_len(line) <= width or any(line.endswith(value) for value in values) for line in text.split("\n"))


@pytest.mark.search
@examples(in_proof=300)
@given(st.lists(st.tuples(IDS, STATES, MONEY), min_size=1, max_size=4), WIDTHS)
def test_a_list_keeps_ids_states_and_totals_at_any_width(orders: list[tuple[str, str, str]], width: int) -> None:
    shown = text_table.table("orders", [listed(*order) for order in orders], width)
    for order in orders:
        assert all(re.search(rf"(?<!\S){re.escape(value)}(?!\S)", shown) for value in order), shown
    assert no_wider(shown, width, [order_id for order_id, _, _ in orders] + [str(NOW)])


@pytest.mark.search
@examples(in_proof=300)
@given(st.lists(st.tuples(IDS, IDS, st.sampled_from(["charged", "refunded"]), MONEY), min_size=1, max_size=4), WIDTHS)
def test_payments_keep_their_id_amount_and_status_at_any_width(
    payments: list[tuple[str, str, str, str]], width: int
) -> None:
    shown = text_table.table("payments", [payment(*each) for each in payments], width)
    for payment_id, _, status, amount in payments:
        for value in (payment_id, status, amount):
            assert re.search(rf"(?<!\S){re.escape(value)}(?!\S)", shown), shown


@pytest.mark.search
@examples(in_proof=200)
@given(st.lists(st.tuples(IDS, STATES, MONEY, NAMES), min_size=1, max_size=3), WIDTHS)
def test_an_order_keeps_its_items_and_its_address_at_any_width(
    orders: list[tuple[str, str, str, str]], width: int
) -> None:
    rows = [
        {
            "id": order_id,
            "state": state,
            "items": [{"qty": 1, "name": name, "price": price}],
            "address_json": {"zipcode": "43210", "city": "Columbus", "address": name},
            "created_at": NOW,
            "updated_at": NOW,
        }
        for order_id, state, price, name in orders
    ]
    shown = text_table.table("orders", rows, width)
    for order_id, state, price, name in orders:
        for value in (order_id, state):
            assert re.search(rf"(?<!\S){re.escape(value)}(?!\S)", shown), shown
        letters = set("".join((visible(name) + price + "43210").split()))
        assert letters <= set(shown)


@given(IDS, STATES, MONEY)
def test_a_pipe_gets_each_row_complete_on_one_line(order_id: str, state: str, total: str) -> None:
    heading, names, _, row = text_table.table("orders", [listed(order_id, state, total)]).split("\n")
    assert heading == "orders (1)"
    assert names.split() == ["order_id", "state", "total", "workflow", "started"]
    assert row.split() == [order_id, state, total, "running", "2026-12-01", "10:20:30.456789+00:00"]


def test_columns_are_dropped_in_a_fixed_order_and_named() -> None:
    rows = [listed("c9a0ad59-0b3f-4a9e-9d3e-0d6a3f6b3a11", "awaiting_review", "129999.00")]
    assert "(too narrow" not in text_table.table("orders", rows, 200)
    narrower = text_table.table("orders", rows, 80)
    assert "(too narrow for started: a pipe and --json have everything)" in narrower
    for value in ("c9a0ad59-0b3f-4a9e-9d3e-0d6a3f6b3a11", "awaiting_review", "129999.00"):
        assert value in narrower
    assert text_table.table("orders", rows, 60).splitlines()[1:] == [
        "order_id  c9a0ad59-0b3f-4a9e-9d3e-0d6a3f6b3a11",
        "state     awaiting_review",
        "total     129999.00",
        "workflow  running",
        "started   2026-12-01 10:20:30.456789+00:00",
    ]


def test_a_long_foreign_id_does_not_hide_other_columns() -> None:
    foreign = listed("x" * 900 + "\x1b[2J\u202e", "charged", "5.00")
    shown = text_table.table("orders", [listed("abc-001", "charged", "129999.00"), foreign], 80)
    assert "129999.00" in shown
    assert "x" * 31 + "…" in shown
    assert no_wider(shown, 80, [])
    assert "x" * 900 + r"\x1b[2J\u202e" in text_table.table("orders", [foreign])


HIDDEN = [*"\x00\x07\n\r\x1b\x7f\x9b\x85", *"\u200b\u200e\u200f\u061c\u2028\u2029\u202a\u202b\u202c\u202d\u202e"]
HIDDEN += [*"\u2060\u2066\u2067\u2068\u2069\ufeff\u00ad\u3164\ufff9\U000e0001\U000e0041\ud800"]


@pytest.mark.parametrize("hidden", HIDDEN, ids=ascii)
def test_invisible_characters_are_shown_as_escapes(hidden: str) -> None:
    escape = hidden.encode("unicode_escape").decode()
    assert visible(f"a{hidden}b") == f"a{escape}b"
    assert f"a{escape}b" in text_table.table("orders", [listed(f"a{hidden}b", "charged", "5.00")], 80)
    assert json.loads(visible_json(json.dumps(f"a{hidden}b", ensure_ascii=False))) == f"a{hidden}b"
    assert hidden not in visible_json(json.dumps(f"a{hidden}b", ensure_ascii=False))


@pytest.mark.parametrize(
    "text", ["שלום", "مرحبا", "می\u200cروم", "क्\u200dष", "👨\u200d👩\u200d👧", "❤️", "ﾟ", "é", "千代田区"]
)
def test_letters_and_emoji_are_shown_as_they_are(text: str) -> None:
    assert visible(text) == text


@pytest.mark.parametrize("text", ["a\u200d", "\u200cb", "a\u200db", "é\u200d\u200dé"])
def test_a_joiner_that_joins_nothing_is_shown_as_an_escape(text: str) -> None:
    assert "\u200c" not in visible(text)
    assert "\u200d" not in visible(text)


@given(st.text())
def test_no_shown_text_controls_a_terminal(text: str) -> None:
    for shown in (visible(text), visible_lines(text).replace("\n", "")):
        assert {unicodedata.category(c) for c in shown}.isdisjoint({"Cc", "Cs", "Zl", "Zp"})
        assert {unicodedata.bidirectional(c) for c in shown}.isdisjoint(
            {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
        )


@given(st.text(st.characters()))
def test_json_keeps_any_text(text: str) -> None:
    assert json.loads(visible_json(json.dumps(text, ensure_ascii=False))) == text


def test_our_longest_id_fits_into_its_column() -> None:
    assert parse_order_id("x" * text_table.LONGEST_ID)
    assert f"max_length={text_table.LONGEST_ID}" in repr(Id)
