"""Valid orders are accepted, and all others are refused with a message that helps."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from order_lifecycle.domain import (
    BEFORE_DISPATCH,
    MOVES,
    TERMINAL,
    Address,
    BadInputError,
    EventType,
    Item,
    Order,
    OrderState,
    parse_address,
    parse_order,
    parse_order_id,
    total,
)

# As the quick start has them.
ITEMS = '[{"name":"apple","qty":1,"price":5.00}]'
ADDRESS = '{"address":"575 Lake Dr.","city":"Columbus","state":"OH","zipcode":"43210"}'


def parse(items: str = ITEMS, address: str = ADDRESS, order_id: str = "abc-001", payment_id: str = "123") -> Order:
    return parse_order(order_id, payment_id, items, address)


def says_no(call: Callable[[], object]) -> str:
    """Return the message of a refusal, which must be one short line of printable characters."""
    with pytest.raises(BadInputError) as refused:
        call()
    message = str(refused.value)
    assert message.isprintable()
    assert len(message) < 250
    return message


def item(**changed: Any) -> dict[str, Any]:
    return {"name": "apple", "qty": 1, "price": 5, **changed}


def an_item(field: str, value: str) -> str:
    """Return items as JSON, with one item that has `value` (also JSON) in `field`."""
    rest = {name: json.dumps(of) for name, of in item().items() if name != field}
    return "[{" + ", ".join(f'"{name}": {of}' for name, of in [*rest.items(), (field, value)]) + "}]"


# --- what is an order ------------------------------------------------------------------------------------------------


def test_the_order_of_the_quick_start_is_accepted() -> None:
    assert parse() == Order(
        id="abc-001",
        payment_id="123",
        items=[Item(name="apple", qty=1, price=Decimal("5.00"))],
        address=Address(address="575 Lake Dr.", city="Columbus", state="OH", zipcode="43210"),
    )


def test_an_order_cannot_be_changed_after_its_check() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        setattr(parse(), "id", "")  # noqa: B010 - the type checker refuses a plain assignment, too


@pytest.mark.parametrize("price", ["5", "5.0", "5.00", '"5.00"', "50e-1", "5E0", "0.5e1"])
def test_a_price_is_stored_in_cents_however_it_is_written(price: str) -> None:
    assert str(parse(an_item("price", price)).items[0].price) == "5.00"


@pytest.mark.parametrize("price", ["0", "-0.0", "0.01", "1e2", "99999999.99"])
def test_the_smallest_and_the_largest_price_are_accepted(price: str) -> None:
    order = parse(an_item("price", price))
    assert total(order.items) == Decimal(price)
    assert str(total(order.items)) == f"{abs(Decimal(price)):.2f}"


@pytest.mark.parametrize("name", ["Äpfel, 苹果 🍏", "x" * 100, "  apple  ", "'; DROP TABLE orders; --", "O'Neill"])
def test_a_name_may_be_any_text(name: str) -> None:
    assert parse(json.dumps([item(name=name)])).items[0].name == name.strip()


@pytest.mark.parametrize("order_id", ["a", "7", "abc-001", "A.b_c-1", "x" * 64])
def test_valid_ids_are_accepted(order_id: str) -> None:
    assert parse(order_id=order_id, payment_id=order_id).id == parse_order_id(order_id) == order_id


def test_the_total_is_exact() -> None:
    # As floats: 0.30000000000000004 and 99999999.98999999.
    assert str(total([Item(name="x", qty=3, price=Decimal("0.10"))])) == "0.30"
    assert str(total([Item(name="x", qty=9_999, price=Decimal("10001.00"))])) == "99999999.00" != str(9_999 * 10_001.01)
    assert str(total([Item(name="x", qty=1, price=Decimal("0.01"))] * 100)) == "1.00"


# --- and what is not -------------------------------------------------------------------------------------------------

NOT_JSON = ["", " ", "apple", "[{", ITEMS + "x", "{'name': 1}", "[1,]", "\x00", "\ud800", '["\n"]']


@pytest.mark.parametrize("text", NOT_JSON)
def test_malformed_json_is_refused(text: str) -> None:
    assert says_no(lambda: parse(text)).startswith("items: not JSON: ")
    assert says_no(lambda: parse(address=text)).startswith("address: not JSON: ")


@pytest.mark.parametrize("items", ["[]", json.dumps([item()] * 101)])
def test_too_few_or_too_many_items_are_refused(items: str) -> None:
    assert says_no(lambda: parse(items)).startswith("items: an order has 1 to 100 items, not ")


GOT = {"{": "an object"}


@pytest.mark.parametrize("items", ["{}", "null", "5", '"apple"', "true", json.dumps(item())])
def test_items_must_be_a_list(items: str) -> None:
    assert says_no(lambda: parse(items)) == (
        f'items: got {GOT.get(items[0], items)}; wanted: a list such as [{{"name": "apple", "qty": 1, "price": 5.00}}]'
    )


@pytest.mark.parametrize("one", ["5", "null", "[]", '"apple"', "[[]]"])
def test_an_item_must_be_an_object(one: str) -> None:
    assert says_no(lambda: parse(f"[{one}]")).startswith("items[0]: ")


QTY = ["0", "-1", "10001", "1.5", "1.0", "1e0", '"1"', "true", "null", "[]", str(10**30)]


@pytest.mark.parametrize("qty", QTY)
def test_an_invalid_quantity_is_refused(qty: str) -> None:
    assert says_no(lambda: parse(an_item("qty", qty))).startswith("items[0].qty: ")


PRICES = {
    "three decimals": "5.001",
    "three decimals, which may be meant as thousands": "5.000",
    "a tenth and two tenths, as floats": "0.30000000000000004",
    "more digits than a float has": "5.0000000000000000000000001",
    "negative": "-0.01",
    "too many digits": "123456789.00",
    "too big for a float": "1e400",
    "a truth": "true",
    "nothing": "null",
    "a word": '"five"',
    "not a number, as text": '"NaN"',
    "infinite, as text": '"Infinity"',
    "a list": "[5]",
}


@pytest.mark.parametrize("price", PRICES.values(), ids=PRICES)
def test_an_invalid_price_is_refused(price: str) -> None:
    assert says_no(lambda: parse(an_item("price", price))).startswith("items[0].price: ")


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
def test_nan_and_infinity_are_refused(constant: str) -> None:
    assert says_no(lambda: parse(an_item("price", constant))) == f"items: not JSON: {constant} is not a number"


@pytest.mark.parametrize("number", ["1" * 5000, "1e99999999999999999999", "1e-99999999999999999999"], ids=len)
def test_a_number_with_too_many_digits_is_refused(number: str) -> None:
    assert says_no(lambda: parse(an_item("price", number))).startswith("items: not JSON: ")


NO_TEXT = ["", "   ", "x" * 101, "a\0b", "\ud800", "\x1b[31mred", "two\nlines", "\x7f", None, 5, True, ["a"]]


@pytest.mark.parametrize("text", NO_TEXT, ids=ascii)
def test_text_that_cannot_be_stored_or_shown_is_refused(text: object) -> None:
    assert says_no(lambda: parse(json.dumps([item(name=text)]))).startswith("items[0].name: ")
    changed = json.dumps({**json.loads(ADDRESS), "city": text})
    assert says_no(lambda: parse(address=changed)).startswith("address.city: ")
    assert says_no(lambda: parse_address(changed)).startswith("address.city: ")


def test_a_zipcode_must_be_text() -> None:
    assert says_no(lambda: parse(address=ADDRESS.replace('"43210"', "43210"))).startswith("address.zipcode: ")


@pytest.mark.parametrize("address", ["[]", "null", "5", '"575 Lake Dr."'])
def test_an_address_must_be_an_object(address: str) -> None:
    assert says_no(lambda: parse(address=address)).startswith("address: ")
    assert says_no(lambda: parse_address(address)).startswith("address: ")


def test_a_missing_field_is_named() -> None:
    assert says_no(lambda: parse('[{"name":"apple","qty":1}]')) == (
        "items[0].price: it is missing; wanted: a number from 0 to 99999999.99, such as 14.31"
    )
    assert says_no(lambda: parse(address="{}")) == (
        'address.address: it is missing; wanted: a text of 1 to 100 characters, such as "575 Lake Dr." (and 1 more)'
    )


# What people write, and what the message must say: the cause, and the way out.
MISTAKES = {
    "": ["it is empty", '[{"name": "apple", "qty": 1, "price": 5.00}]'],
    "[{'name': 'apple'}]": ["double quotes", "not 'name'"],
    "[{\u201cname\u201d: 1}]": ["straight quotes"],
    '[{"name": "apple", "qty": 1, "price": 5.00},]': ["remove the comma before the closing bracket"],
    '[{"name": "apple", "qty": 1, "price": 5.00,}]': ["remove the comma before the closing bracket"],
    '[{"name": "apple"': ["it ends too early"],
    "items.json": ["to read a file, write an @ before its name", "@items.json"],
    '[{"name" "apple"}]': ["at character 10"],
    '[{"name":"apple","qty":1,"qty":2,"price":5}]': ['the key "qty" appears twice'],
    '[{"name":"apple","qty":1,"price":14.309999999999999}]': [
        "items[0].price: 14.309999999999999 has more than 2 decimal places: write 14.31"
    ],
    '[{"name":"apple","qty":1,"price":5.000}]': ["5.000 has more than 2 decimal places: write 5.00"],
    '[{"name":"apple","qty":1,"price":-5}]': ["items[0].price: -5 is not from 0 to 99999999.99"],
    '[{"name":"apple","qty":1,"price":"14,31"}]': ['got "14,31"', "such as 14.31"],
    '[{"name":"apple","qty":"two","price":5}]': ['items[0].qty: got "two"', "a whole number from 1 to 10000"],
    '[{"name":"","qty":1,"price":5}]': ['items[0].name: got ""', 'such as "apple"'],
    '[{"name":"apple","qty":1,"price":5,"colour":"red"}]': ["items[0].colour", "the fields are name, qty, price"],
    "[5]": ["items[0]: got 5", '{"name": "apple"'],
}


@pytest.mark.parametrize("text", MISTAKES)
def test_a_mistake_is_named_with_its_value_and_what_is_wanted(text: str) -> None:
    message = says_no(lambda: parse(text))
    assert [words for words in MISTAKES[text] if words not in message] == []


def test_a_byte_order_mark_is_ignored() -> None:
    assert parse("\ufeff" + ITEMS, "\ufeff" + ADDRESS) == parse()


# --- addresses of the world ------------------------------------------------------------------------------------------

ADDRESSES = [
    {"address": "1-1 Chiyoda", "city": "千代田区", "zipcode": "100-8111", "country": "JP"},
    {"address": "12 Main Street", "city": "Dublin", "country": "ie"},
    {"address": "شارع الملك فيصل", "city": "الدوحة", "country": "QA"},
    {"address": "575 Lake Dr.", "city": "Columbus"},
    {"address": "575 Lake Dr.", "city": "Columbus", "state": None, "zipcode": None, "country": None},
]


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_keeps_only_the_fields_that_it_has(address: dict[str, Any]) -> None:
    parsed = parse_address(json.dumps(address))
    there = {name: value for name, value in address.items() if value is not None}
    if "country" in there:
        there["country"] = there["country"].upper()
    assert parsed.model_dump() == json.loads(parsed.model_dump_json()) == there
    assert Address.model_validate(there) == parsed
    assert str(parsed) == ", ".join(parsed.model_dump().values())
    assert "None" not in repr(parsed)


def test_an_address_with_the_four_original_fields_is_unchanged() -> None:
    assert parse_address(ADDRESS).model_dump_json() == ADDRESS


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("country", "Germany", '"Germany" is not a two-letter code of ISO 3166, such as DE or JP'),
        ("country", "XX", '"XX" is not a two-letter code'),
        ("country", "UK", "write GB"),
        ("country", 49, "got 49; wanted: a two-letter code"),
        ("state", "", 'got ""; wanted: a text such as "OH", or to be left out'),
        ("zipcode", 43210, 'got 43210; wanted: a text such as "43210"'),
        ("city", None, 'got null; wanted: a text of 1 to 100 characters, such as "Columbus"'),
        ("planet", "Mars", "there is no such field; the fields are address, city, state, zipcode, country"),
    ],
)
def test_an_invalid_address_is_refused_with_what_is_wanted(field: str, value: Any, says: str) -> None:
    address = json.dumps(json.loads(ADDRESS) | {field: value})
    for message in (says_no(lambda: parse_address(address)), says_no(lambda: parse(address=address))):
        assert message.startswith(f"address.{field}: ")
        assert says in message


def test_the_second_item_is_named_and_the_rest_is_counted() -> None:
    items = json.dumps([item(), item(qty=-1, price="five")])
    assert says_no(lambda: parse(items)).startswith("items[1].qty: ")
    assert says_no(lambda: parse(items)).endswith(" (and 1 more)")


def test_an_unknown_field_is_refused() -> None:
    assert says_no(lambda: parse(json.dumps([item(colour="red")]))).startswith("items[0].colour: ")
    with_planet = ADDRESS.replace("{", '{"planet": "Mars", ')
    assert says_no(lambda: parse(address=with_planet)).startswith("address.planet: ")


@pytest.mark.parametrize("name", ["", "two\nlines", "\x1b[31mred", "x" * 100_000, "\ud800", "a: b", "\u202e", "0"])
def test_an_unknown_field_with_a_hostile_name_is_refused(name: str) -> None:
    assert says_no(lambda: parse(json.dumps([item(**{name: 1})]))).startswith("items[0]")


def test_a_duplicate_key_is_refused() -> None:
    assert says_no(lambda: parse('[{"name":"apple","qty":1,"qty":2,"price":5}]')).startswith("items: not JSON: ")
    assert says_no(lambda: parse(address=ADDRESS.replace("{", '{"city": "Rome", '))).startswith("address: not JSON: ")


@pytest.mark.parametrize("depth", [500, 990, 100_000])
def test_very_deep_json_is_refused(depth: int) -> None:
    assert says_no(lambda: parse("[" * depth + "]" * depth)).startswith("items")
    assert says_no(lambda: parse(address='{"a":' * depth + "1" + "}" * depth)).startswith("address")


@pytest.mark.parametrize("price", ["100000000", "99999999.99"])
def test_a_total_too_large_for_a_payment_is_refused(price: str) -> None:
    items = json.dumps([item(price=price), item(price="0.01")])
    assert says_no(lambda: parse(items)).startswith("items")
    assert "total must be below 100000000.00" in says_no(lambda: parse(an_item("qty", "10000").replace("5", "99999")))


IDS = ["", " ", "x" * 500, "x" * 65, "a b", "a/b", "../a", ".a", "-a", "a\n", "a\0", "é", "\ud800", "$(id)", "a%41"]


@pytest.mark.parametrize("order_id", IDS, ids=lambda of: ascii(of[:10]))
def test_an_invalid_id_is_refused(order_id: str) -> None:
    assert says_no(lambda: parse(order_id=order_id)).startswith("id: ")
    assert says_no(lambda: parse(payment_id=order_id)).startswith("payment_id: ")
    assert says_no(lambda: parse_order_id(order_id)).startswith("id: ")


# --- whatever comes --------------------------------------------------------------------------------------------------

ANY_TEXT = st.text(st.characters())  # lone surrogates too
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=8,
)
PRICE = st.decimals(0, 9_999, places=2)
ITEM = st.fixed_dictionaries({"name": st.just("apple"), "qty": st.integers(1, 100), "price": PRICE.map(str)})


def almost(good: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Draw `good` with another value in one of its fields, or with one more field."""
    return st.builds(lambda field, value: {**good, field: value}, st.sampled_from([*good, "more"]) | ANY_TEXT, ANY_JSON)


ANYTHING = ANY_TEXT | ANY_JSON.map(json.dumps)
NEARLY_ITEMS = st.lists(almost(item()), max_size=3).map(json.dumps)
NEARLY_ADDRESS = almost(json.loads(ADDRESS)).map(json.dumps)


def order_or_message(order_id: str, items: str, address: str) -> Order | str:
    try:
        return parse(items, address, order_id)
    except BadInputError as refused:
        return str(refused)


@pytest.mark.search
@given(
    ANY_TEXT | st.just("abc-001"),
    ANYTHING | NEARLY_ITEMS | st.just(ITEMS),
    ANYTHING | NEARLY_ADDRESS | st.just(ADDRESS),
)
def test_any_input_is_an_order_or_bad_input(order_id: str, items: str, address: str) -> None:
    answer = order_or_message(order_id, items, address)
    if isinstance(answer, Order):
        answer.model_dump_json().encode()
        assert 0 <= total(answer.items) < 10**8
    else:
        assert answer.isprintable()
        assert answer.startswith(("id", "items", "address"))


@pytest.mark.search
@given(st.lists(ITEM, min_size=1, max_size=100).filter(lambda items: len(items) <= 100))
def test_an_order_is_the_same_after_a_round_trip_through_json(items: list[dict[str, Any]]) -> None:
    order = parse(json.dumps(items))
    assert Order.model_validate_json(order.model_dump_json()) == order
    cents = sum(one["qty"] * int(one["price"].replace(".", "")) for one in items)
    assert int(total(order.items).scaleb(2)) == cents
    assert total(order.items).as_tuple().exponent == -2


# --- the states ------------------------------------------------------------------------------------------------------


def test_the_legal_moves_form_one_path() -> None:
    path = [*MOVES.values()]
    assert [after for _, after in path[:-1]] == [before for before, _ in path[1:]]
    states = [path[0][0], *(after for _, after in path)]
    assert states[0] is OrderState.RECEIVED
    assert states[-1] is OrderState.SHIPPED
    assert [*states, OrderState.CANCELLED, OrderState.FAILED] == [*OrderState]
    assert [EventType.ORDER_RECEIVED, *MOVES] == [*EventType][:8]


def test_every_state_is_before_dispatch_dispatched_or_terminal() -> None:
    everything = set(OrderState)
    assert everything - BEFORE_DISPATCH == {OrderState.DISPATCHED, *TERMINAL}
    assert TERMINAL.isdisjoint(before for before, _ in MOVES.values())
