"""What an order is, which states it goes through, and the rules that it is started with.

Pure: no I/O, no Temporal. Every order that enters, by whichever door, is validated here, once.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    model_serializer,
)

from order_lifecycle.countries import COUNTRIES

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

# --- states, and the steps that lead from one to the next ----------------------------------------


class OrderState(StrEnum):
    RECEIVED = "received"
    VALIDATED = "validated"
    AWAITING_REVIEW = "awaiting_review"
    APPROVED = "approved"
    CHARGED = "charged"
    PACKED = "packed"
    DISPATCHED = "dispatched"
    SHIPPED = "shipped"
    CANCELLED = "cancelled"
    FAILED = "failed"


class PaymentStatus(StrEnum):
    CHARGED = "charged"
    REFUNDED = "refunded"


class EventType(StrEnum):
    """A row of the audit trail. The first eight are the happy path, in order."""

    ORDER_RECEIVED = "order_received"
    ORDER_VALIDATED = "order_validated"
    REVIEW_REQUESTED = "review_requested"
    ORDER_APPROVED = "order_approved"
    PAYMENT_CHARGED = "payment_charged"
    PACKAGE_PREPARED = "package_prepared"
    CARRIER_DISPATCHED = "carrier_dispatched"
    ORDER_SHIPPED = "order_shipped"
    ADDRESS_CHANGED = "address_changed"
    DISPATCH_FAILED = "dispatch_failed"
    PAYMENT_REFUNDED = "payment_refunded"
    ORDER_CANCELLED = "order_cancelled"
    ORDER_FAILED = "order_failed"
    LATE_SIGNAL = "late_signal"


# The event that records each move of the happy path: event -> (state before, state after).
MOVES: dict[EventType, tuple[OrderState, OrderState]] = {
    EventType.ORDER_VALIDATED: (OrderState.RECEIVED, OrderState.VALIDATED),
    EventType.REVIEW_REQUESTED: (OrderState.VALIDATED, OrderState.AWAITING_REVIEW),
    EventType.ORDER_APPROVED: (OrderState.AWAITING_REVIEW, OrderState.APPROVED),
    EventType.PAYMENT_CHARGED: (OrderState.APPROVED, OrderState.CHARGED),
    EventType.PACKAGE_PREPARED: (OrderState.CHARGED, OrderState.PACKED),
    EventType.CARRIER_DISPATCHED: (OrderState.PACKED, OrderState.DISPATCHED),
    EventType.ORDER_SHIPPED: (OrderState.DISPATCHED, OrderState.SHIPPED),
}

# Until the carrier has the parcel, an order can be cancelled, can fail, and can be sent to another
# address.
BEFORE_DISPATCH = frozenset(before for before, _ in MOVES.values()) - {OrderState.DISPATCHED}
TERMINAL = frozenset({OrderState.SHIPPED, OrderState.CANCELLED, OrderState.FAILED})


class RefusedError(Exception):
    """The order's state or the rules do not allow it, and trying again cannot change that."""


class AnotherRunError(RefusedError):
    """The database has an order of that name already, from another workflow run: nothing of it is
    ours to change."""


# --- an order, as a caller gives it --------------------------------------------------------------


def _unfit(character: str) -> bool:
    # PostgreSQL cannot store NUL, UTF-8 cannot encode a lone surrogate, and the rest disturbs a
    # terminal.
    return unicodedata.category(character) in ("Cc", "Cs")


def plain_text(text: str) -> str:
    """Raises ValueError if it cannot be stored or shown."""
    if any(map(_unfit, text)):
        raise ValueError("must not contain control characters")
    return text


Text = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=100),
    AfterValidator(plain_text),
]
# It becomes part of a workflow id, so no character that a URL or a shell would have to quote.
Id = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=64)]


DEAREST = Decimal("99999999.99")


def _cents(price: Decimal) -> Decimal:
    if not 0 <= price <= DEAREST:
        raise ValueError(f"{shown(price)} is not from 0 to {DEAREST}")
    cents = abs(price).quantize(Decimal("0.01"), ROUND_HALF_UP)  # abs, because there is a -0
    # 5.000 is refused too: in half the world that is five thousand.
    if -int(price.as_tuple().exponent) > 2:
        raise ValueError(f"{shown(price)} has more than 2 decimal places: write {cents}")
    return cents


Money = Annotated[Decimal, AfterValidator(_cents)]


def _country(code: str) -> str:
    upper = code.upper()
    if upper == "UK":
        raise ValueError("ISO 3166 has GB for the United Kingdom: write GB")
    if upper not in COUNTRIES:
        raise ValueError(f"{shown(code)} is not a two-letter code of ISO 3166, such as DE or JP")
    return upper


Country = Annotated[Text, AfterValidator(_country)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Item(_Model):
    name: Text
    qty: Annotated[int, Field(strict=True, ge=1, le=10_000)]
    price: Money


class Address(_Model):
    """Where a parcel goes.

    Every place has an `address` (a street, a house, a box) and a `city`. Whether it has a `state`
    and a `zipcode` depends on the country, so both may be left out; so may the country, which then
    is the shop's own. There are no rules for single countries.
    """

    address: Text
    city: Text
    state: Text | None = None
    zipcode: Text | None = None
    country: Country | None = Field(None, description="ISO 3166-1 alpha-2, such as JP")

    @model_serializer(mode="wrap")
    def _what_is_there(self, fields: SerializerFunctionWrapHandler) -> dict[str, str]:
        """Leave out what is not there: an address of before there was a country stays the same."""
        return {name: value for name, value in fields(self).items() if value is not None}

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        return ((name, value) for name, value in super().__repr_args__() if value is not None)

    def __str__(self) -> str:
        return ", ".join(self.model_dump().values())


def _payable(items: list[Item]) -> list[Item]:
    if not 1 <= len(items) <= 100:
        raise ValueError(f"an order has 1 to 100 items, not {len(items)}")
    if total(items) >= 10**8:
        raise ValueError("the total must be below 100000000.00, which is what a payment can hold")
    return items


Items = Annotated[list[Item], AfterValidator(_payable)]


def total(items: list[Item]) -> Decimal:
    """What the items cost together: the sum of quantity times price."""
    return sum((item.qty * item.price for item in items), Decimal("0.00"))


class Order(_Model):
    id: Id
    payment_id: Id = Field(description="the idempotency key of its one payment")
    items: Items
    address: Address


# --- why something happened, in somebody's words -------------------------------------------------

REASON_MAX_LENGTH = 500
Reason = Annotated[str, StringConstraints(max_length=REASON_MAX_LENGTH), AfterValidator(plain_text)]


def for_the_record(text: str) -> str:
    """A reason from another client, or the words of an error, cut and cleaned until it is a Reason:
    an order must not fail to end because of what was said. Raises TypeError if it is no text:
    Temporal's converters for bytes, null and protobuf do not look at the type that a handler asks
    for."""
    if not isinstance(text, str):
        raise TypeError(f"a reason is text, not {type(text).__name__}")
    cut = text if len(text) <= REASON_MAX_LENGTH else f"{text[: REASON_MAX_LENGTH - 1]}…"
    return "".join(" " if _unfit(character) else character for character in cut)


# --- what goes in and out of a workflow besides --------------------------------------------------


SHORTEST_SPAN, LONGEST_SPAN = timedelta(milliseconds=1), timedelta(days=3650)
LONGEST_RETRY_INTERVAL = timedelta(seconds=5)
# Temporal refuses what is negative, and Python cannot add the rest to a date: the order would
# neither begin nor end.
Span = Annotated[timedelta, Field(ge=SHORTEST_SPAN, le=LONGEST_SPAN)]
# Time for a task to reach a worker, for its transaction, and for the answer to reach the server. In
# less, no attempt succeeds, and an order neither goes on nor gets its refund.
SHORTEST_ATTEMPT = timedelta(milliseconds=250)
SHORTEST_BUDGET = timedelta(seconds=1)


class Policy(_Model):
    """The rules an order is started with. They travel with the order, so that a change of the
    settings never changes an order that is already running."""

    review_timeout: Span = timedelta(days=3)
    attempt_timeout: Annotated[Span, Field(ge=SHORTEST_ATTEMPT)] = Field(
        timedelta(milliseconds=500), description="at most, for one attempt of one step"
    )
    retry_interval: Annotated[Span, Field(le=LONGEST_RETRY_INTERVAL)] = Field(
        timedelta(milliseconds=10), description="before the first retry of a step"
    )
    budget: Annotated[Span, Field(ge=SHORTEST_BUDGET)] = Field(
        timedelta(hours=1), description="for all the work on an order; reviews do not count"
    )
    shipping_tries: Annotated[int, Field(ge=1, le=100)] = 3


class OrderResult(_Model):
    order_id: str
    state: OrderState
    reason: str | None = None


class OrderStatus(_Model):
    """The answer to the query `status`: what the workflow knows of itself."""

    order_id: str
    state: OrderState | None = Field(description="None until the order is in the database")
    step: str
    waiting_for: str | None
    address: Address
    total: Decimal
    deadline: datetime | None = Field(
        description="of the review, while it waits for that, and else of all the work on the order"
    )
    shipping_tries: int
    errors: tuple[str, ...]
    reason: str | None = Field(None, description="why the order was cancelled or failed")


class UpdateResult(_Model):
    """The answer to an Update that was accepted."""

    order_id: str
    state: OrderState
    message: str


class ShippingRequest(_Model):
    order_id: str
    attempt: int
    policy: Policy
    budget_left: timedelta


# --- bad input -----------------------------------------------------------------------------------


class BadInputError(ValueError):
    """What was given is not an order. The message is one line that names the field."""


V = TypeVar("V")
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,29}\Z")


def parse_order(order_id: str, payment_id: str, items_json: str, address_json: str) -> Order:
    """An order from the four strings of the command line. Raises BadInputError."""
    fields = {"id": order_id, "payment_id": payment_id}
    given = {
        "items": parse_json("items", items_json),
        "address": parse_json("address", address_json),
    }
    return checked("", lambda: Order.model_validate(fields | given))


def parse_address(address_json: str) -> Address:
    """An address from JSON. Raises BadInputError."""
    value = parse_json("address", address_json)
    return checked("address", lambda: Address.model_validate(value))


def parse_order_id(order_id: str) -> str:
    """An order id that can exist. Raises BadInputError."""
    return checked("id", lambda: TypeAdapter(Id).validate_python(order_id))


def parse_reason(reason: str) -> str:
    """A reason that can be stored and shown. Raises BadInputError."""
    return checked("reason", lambda: TypeAdapter(Reason).validate_python(reason))


def checked(field: str, build: Callable[[], V]) -> V:
    """Return what `build` returns. Raises BadInputError, with the first field that is wrong, what
    was got and what is wanted, where `build` raises ValidationError."""
    try:
        return build()
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = field
        for part in first["loc"]:
            if isinstance(part, str) and _PLAIN_NAME.match(part):
                where += f".{part}" if where else part
            else:  # the place in a list, or what somebody called a field of their own
                where += f"[{part if isinstance(part, int) else ascii(part[:30])}]"
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise BadInputError(f"{where or 'order'}: {_wrong(first, where)}{more}") from None


ONE_ITEM = '{"name": "apple", "qty": 1, "price": 5.00}'
ONE_ADDRESS = '{"address": "575 Lake Dr.", "city": "Columbus"}'
# What each field wants, by the last part of its name; an item and an address also as a whole.
_ID = "1 to 64 letters, digits, dots, underscores and hyphens, such as abc-001"
_WANTED = {
    "id": _ID,
    "payment_id": _ID,
    "items": f"a list such as [{ONE_ITEM}]",
    "items[]": f"an object such as {ONE_ITEM}",
    "name": 'a text of 1 to 100 characters, such as "apple"',
    "qty": "a whole number from 1 to 10000, such as 2",
    "price": f"a number from 0 to {DEAREST}, such as 14.31",
    "address": f"an object such as {ONE_ADDRESS}",
    "address.address": 'a text of 1 to 100 characters, such as "575 Lake Dr."',
    "city": 'a text of 1 to 100 characters, such as "Columbus"',
    "state": 'a text such as "OH", or to be left out',
    "zipcode": 'a text such as "43210", or to be left out',
    "country": 'a two-letter code of ISO 3166 such as "US", or to be left out',
    "reason": f"a text of at most {REASON_MAX_LENGTH} characters",
}


def _wrong(error: ErrorDetails, where: str) -> str:
    """Return what is wrong with a field, in a line: what was got, and what is wanted."""
    # The model of an item or an address is wrong as a whole where its name is the last.
    names = ("address.address", "items[]") if where != "address" else ()
    any_item = re.sub(r"\[\d+\]$", "[]", where)
    known = next((name for name in names if any_item.endswith(name)), where.rpartition(".")[2])
    wanted = f"; wanted: {_WANTED[known]}" if known in _WANTED else ""
    if error["type"] == "value_error":
        return error["msg"].removeprefix("Value error, ")
    if error["type"] == "missing":
        return f"it is missing{wanted}"
    if error["type"] == "extra_forbidden":
        model = Item if where.startswith("items[") else Address if "address" in where else Order
        return f"there is no such field; the fields are {', '.join(model.model_fields)}"
    got = error["input"]
    length = f" ({len(got)} characters)" if error["type"] == "string_too_long" else ""
    return f"got {shown(got)}{length}{wanted}"


SHOWN_MAX_LENGTH = 40


def shown(value: Any) -> str:
    """Return a value as JSON has it, short, and in characters that can be printed."""
    if isinstance(value, Decimal):
        text = str(value)
    elif isinstance(value, list | dict):
        text = "a list" if isinstance(value, list) else "an object"
    else:
        text = json.dumps(value, ensure_ascii=False, default=str)
    if len(text) > SHOWN_MAX_LENGTH:
        text = f"{text[: SHOWN_MAX_LENGTH - 1]}…"
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode() for one in text
    )


def parse_json(field: str, text: str) -> Any:
    """JSON in which numbers keep every digit and nothing is read twice. Raises BadInputError."""

    def number(digits: str) -> Decimal:
        try:
            return Decimal(digits)
        except InvalidOperation:
            raise ValueError("a number has an exponent beyond all bounds") from None

    def no_constant(name: str) -> None:
        raise ValueError(f"{name} is not a number")

    def no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys: set[str] = set()
        for key, _ in pairs:
            if key in keys:
                raise ValueError(f"the key {shown(key)} stands there twice")
            keys.add(key)
        return dict(pairs)

    try:
        return json.loads(
            # Some editors begin every file with a byte-order mark.
            text.removeprefix("\ufeff"),
            parse_float=number,
            parse_constant=no_constant,
            object_pairs_hook=no_key_twice,
        )
    except json.JSONDecodeError as error:
        why = f"{_why_not_json(error)}; wanted: {_WANTED[field]}"
    except RecursionError:
        why = "it is nested too deeply"
    except ValueError as error:
        why = str(error)
    raise BadInputError(f"{field}: not JSON: {why}")


def _why_not_json(error: json.JSONDecodeError) -> str:
    """Return what is wrong, by the mistakes that are made most, else by the place of the error."""
    rest = error.doc[error.pos :]
    before = error.doc[: error.pos].rstrip()
    if not error.doc.strip():
        return "it is empty"
    if not rest:
        return "it ends too early"
    if rest.startswith("'"):
        return "JSON has double quotes: \"name\", not 'name'"
    if rest[0] in "\u201c\u201d\u201e\u2018\u2019\u00ab":
        return f'JSON has straight quotes: "name", not {rest[0]}'
    if re.match(r"\s*,\s*[\]}]", rest) or (
        before.endswith(",") and rest.lstrip().startswith(("]", "}"))
    ):
        return "a comma stands before a closing bracket, where nothing follows"
    if re.fullmatch(r"[\w./~-]+\.json", error.doc.strip()):
        return f"to read a file, write an @ before its name: {shown('@' + error.doc.strip())}"
    return f"{error.msg.removesuffix(' at')} at character {error.pos + 1}, {shown(rest[:20])}"
