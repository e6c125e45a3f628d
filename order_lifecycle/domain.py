"""Define an order, its states, and the rules that it is started with.

This module does no I/O and does not import Temporal. Every order is validated here once, before it
reaches Temporal or the database. The rest of the code trusts the models.
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
    """The state of an order, as in the column `orders.state`."""

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
    """The status of a payment, as in the column `payments.status`."""

    CHARGED = "charged"
    REFUNDED = "refunded"


class EventType(StrEnum):
    """The type of a row of the audit trail. The first eight are the happy path, in order."""

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


# For each event of the happy path that changes the state: the state before and after it.
MOVES: dict[EventType, tuple[OrderState, OrderState]] = {
    EventType.ORDER_VALIDATED: (OrderState.RECEIVED, OrderState.VALIDATED),
    EventType.REVIEW_REQUESTED: (OrderState.VALIDATED, OrderState.AWAITING_REVIEW),
    EventType.ORDER_APPROVED: (OrderState.AWAITING_REVIEW, OrderState.APPROVED),
    EventType.PAYMENT_CHARGED: (OrderState.APPROVED, OrderState.CHARGED),
    EventType.PACKAGE_PREPARED: (OrderState.CHARGED, OrderState.PACKED),
    EventType.CARRIER_DISPATCHED: (OrderState.PACKED, OrderState.DISPATCHED),
    EventType.ORDER_SHIPPED: (OrderState.DISPATCHED, OrderState.SHIPPED),
}

# In these states an order can still be cancelled, can fail, and can get another address.
BEFORE_DISPATCH = frozenset(before for before, _ in MOVES.values()) - {OrderState.DISPATCHED}
TERMINAL = frozenset({OrderState.SHIPPED, OrderState.CANCELLED, OrderState.FAILED})


class RefusedError(Exception):
    """The order's state or a rule does not allow this step, and a retry cannot change that."""


class AnotherRunError(RefusedError):
    """Another workflow run has already inserted an order with this ID.

    The order belongs to that run, so this run must not change it.
    """


# --- an order, as a caller gives it --------------------------------------------------------------


def _is_forbidden(character: str) -> bool:
    # PostgreSQL cannot store NUL, UTF-8 cannot encode a lone surrogate, and the other control
    # characters can change a terminal.
    return unicodedata.category(character) in ("Cc", "Cs")


def plain_text(text: str) -> str:
    """Return the text if it can be stored and shown.

    Raises:
        ValueError: The text has a control character or a lone surrogate.
    """
    if any(map(_is_forbidden, text)):
        raise ValueError("must not contain control characters")
    return text


Text = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=100),
    AfterValidator(plain_text),
]
# An ID becomes a part of a workflow ID, so it has no character that needs quotes in a URL or shell.
Id = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=64)]


MAX_PRICE = Decimal("99999999.99")


def _cents(price: Decimal) -> Decimal:
    if not 0 <= price <= MAX_PRICE:
        raise ValueError(f"{short_json(price)} is not from 0 to {MAX_PRICE}")
    cents = abs(price).quantize(Decimal("0.01"), ROUND_HALF_UP)  # abs turns -0 into 0
    # Refuse 5.000 too: many countries write five thousand like this.
    if -int(price.as_tuple().exponent) > 2:
        raise ValueError(f"{short_json(price)} has more than 2 decimal places: write {cents}")
    return cents


Money = Annotated[Decimal, AfterValidator(_cents)]


def _country(code: str) -> str:
    upper = code.upper()
    if upper == "UK":
        raise ValueError("ISO 3166 has GB for the United Kingdom: write GB")
    if upper not in COUNTRIES:
        raise ValueError(
            f"{short_json(code)} is not a two-letter code of ISO 3166, such as DE or JP"
        )
    return upper


Country = Annotated[Text, AfterValidator(_country)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Item(_Model):
    """One line of an order: a quantity of one product, and the price of one piece."""

    name: Text
    qty: Annotated[int, Field(strict=True, ge=1, le=10_000)]
    price: Money


class Address(_Model):
    """Where a parcel goes.

    Every place has an `address` (a street, a house, a box) and a `city`. Not every country has
    states and zip codes, so `state` and `zipcode` are optional. Without a `country`, the parcel
    goes to the shop's own country. No country has rules of its own here.
    """

    address: Text
    city: Text
    state: Text | None = None
    zipcode: Text | None = None
    country: Country | None = Field(None, description="ISO 3166-1 alpha-2, such as JP")

    @model_serializer(mode="wrap")
    def _without_missing(self, fields: SerializerFunctionWrapHandler) -> dict[str, str]:
        """Leave out missing fields, so that an address from before `country` stays the same."""
        return {name: value for name, value in fields(self).items() if value is not None}

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        return ((name, value) for name, value in super().__repr_args__() if value is not None)

    def __str__(self) -> str:
        return ", ".join(self.model_dump().values())


def _check_items(items: list[Item]) -> list[Item]:
    if not 1 <= len(items) <= 100:
        raise ValueError(f"an order has 1 to 100 items, not {len(items)}")
    if total(items) >= 10**8:
        raise ValueError("the total must be below 100000000.00, which is what a payment can hold")
    return items


Items = Annotated[list[Item], AfterValidator(_check_items)]


def total(items: list[Item]) -> Decimal:
    """Return the price of all items: the sum of quantity times price."""
    return sum((item.qty * item.price for item in items), Decimal("0.00"))


class Order(_Model):
    """An order, as the caller starts it. Only its address can change afterwards."""

    id: Id
    payment_id: Id = Field(description="the idempotency key of the order's one payment")
    items: Items
    address: Address


# --- the reason for a cancel or a failure --------------------------------------------------------

REASON_MAX_LENGTH = 500
Reason = Annotated[str, StringConstraints(max_length=REASON_MAX_LENGTH), AfterValidator(plain_text)]


def clean_reason(text: str) -> str:
    """Turn a client's reason, or an error message, into a valid Reason.

    It shortens the text and replaces forbidden characters, because an order must be able to end
    whatever the reason says.

    Raises:
        TypeError: The argument is not text. Temporal's converters for bytes, null and protobuf
            ignore the type that a handler declares.
    """
    if not isinstance(text, str):
        raise TypeError(f"a reason must be text, not {type(text).__name__}")
    cut = text if len(text) <= REASON_MAX_LENGTH else f"{text[: REASON_MAX_LENGTH - 1]}…"
    return "".join(" " if _is_forbidden(character) else character for character in cut)


# --- the other arguments and results of a workflow -----------------------------------------------


SHORTEST_DURATION, LONGEST_DURATION = timedelta(milliseconds=1), timedelta(days=3650)
LONGEST_RETRY_INTERVAL = timedelta(seconds=5)
# Temporal refuses a negative duration, and Python cannot add a very long one to a date. An order
# with either could neither begin nor end.
Duration = Annotated[timedelta, Field(ge=SHORTEST_DURATION, le=LONGEST_DURATION)]
# An attempt needs time to reach a worker, for its transaction, and to report to the server. With
# less time no attempt could succeed, so an order could not go on and could not be refunded.
SHORTEST_ATTEMPT = timedelta(milliseconds=250)
SHORTEST_BUDGET = timedelta(seconds=1)


class Policy(_Model):
    """The rules that an order is started with.

    They are an argument of its workflow, so a change of the settings does not change an order that
    is already running.
    """

    review_timeout: Duration = timedelta(days=3)
    attempt_timeout: Annotated[Duration, Field(ge=SHORTEST_ATTEMPT)] = Field(
        timedelta(milliseconds=500), description="the time limit of one attempt at a step"
    )
    retry_interval: Annotated[Duration, Field(le=LONGEST_RETRY_INTERVAL)] = Field(
        timedelta(milliseconds=10), description="the pause before the first retry of a step"
    )
    budget: Annotated[Duration, Field(ge=SHORTEST_BUDGET)] = Field(
        timedelta(hours=1), description="the time for all work on an order, without its review"
    )
    shipping_tries: Annotated[int, Field(ge=1, le=100)] = 3


class OrderResult(_Model):
    """How an order ended: the result of its workflow."""

    order_id: str
    state: OrderState
    reason: str | None = None


class OrderStatus(_Model):
    """The answer to the query `status`: what the workflow itself knows."""

    order_id: str
    state: OrderState | None = Field(description="None until the order is in the database")
    step: str
    waiting_for: str | None
    address: Address
    total: Decimal
    deadline: datetime | None = Field(
        description="of the review while the order waits for it, else of all work on the order"
    )
    shipping_tries: int
    errors: tuple[str, ...]
    reason: str | None = Field(None, description="why the order was cancelled or failed")


class UpdateResult(_Model):
    """The answer to an Update that the workflow accepted."""

    order_id: str
    state: OrderState
    message: str


class ShippingRequest(_Model):
    """The argument of a shipping workflow: one try at shipping an order."""

    order_id: str
    attempt: int
    policy: Policy
    budget_left: timedelta


# --- bad input -----------------------------------------------------------------------------------


class BadInputError(ValueError):
    """The input is not valid. The message is one line that names the field."""


V = TypeVar("V")
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,29}\Z")


def parse_order(order_id: str, payment_id: str, items_json: str, address_json: str) -> Order:
    """Make an order from four arguments of the command line.

    Raises:
        BadInputError: An argument is not valid.
    """
    fields = {"id": order_id, "payment_id": payment_id}
    given = {
        "items": parse_json("items", items_json),
        "address": parse_json("address", address_json),
    }
    return validated("", lambda: Order.model_validate(fields | given))


def parse_address(address_json: str) -> Address:
    """Make an address from JSON.

    Raises:
        BadInputError: It is not JSON, or not an address.
    """
    value = parse_json("address", address_json)
    return validated("address", lambda: Address.model_validate(value))


def parse_order_id(order_id: str) -> str:
    """Return the ID if an order could have it.

    Raises:
        BadInputError: No order can have this ID.
    """
    return validated("id", lambda: TypeAdapter(Id).validate_python(order_id))


def parse_reason(reason: str) -> str:
    """Return the reason if it can be stored and shown.

    Raises:
        BadInputError: It is too long, or has a control character.
    """
    return validated("reason", lambda: TypeAdapter(Reason).validate_python(reason))


def validated(field: str, build: Callable[[], V]) -> V:
    """Return the result of `build()`, with a better error if it is not valid.

    `field` is the name of the value as a whole, or "" if its own fields are named instead.

    Raises:
        BadInputError: `build` raised ValidationError. The message names the first wrong field, the
            value that it has, and what is wanted.
    """
    try:
        return build()
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = field
        for part in first["loc"]:
            if isinstance(part, str) and _PLAIN_NAME.match(part):
                where += f".{part}" if where else part
            else:  # an index in a list, or a field name that the caller made up
                where += f"[{part if isinstance(part, int) else ascii(part[:30])}]"
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise BadInputError(f"{where or 'order'}: {_problem(first, where)}{more}") from None


ONE_ITEM = '{"name": "apple", "qty": 1, "price": 5.00}'
ONE_ADDRESS = '{"address": "575 Lake Dr.", "city": "Columbus"}'
# What is valid for each field, by the last part of its name; for an item and an address as a whole,
# too.
_ID = "1 to 64 letters, digits, dots, underscores and hyphens, such as abc-001"
_WANTED = {
    "id": _ID,
    "payment_id": _ID,
    "items": f"a list such as [{ONE_ITEM}]",
    "items[]": f"an object such as {ONE_ITEM}",
    "name": 'a text of 1 to 100 characters, such as "apple"',
    "qty": "a whole number from 1 to 10000, such as 2",
    "price": f"a number from 0 to {MAX_PRICE}, such as 14.31",
    "address": f"an object such as {ONE_ADDRESS}",
    "address.address": 'a text of 1 to 100 characters, such as "575 Lake Dr."',
    "city": 'a text of 1 to 100 characters, such as "Columbus"',
    "state": 'a text such as "OH", or to be left out',
    "zipcode": 'a text such as "43210", or to be left out',
    "country": 'a two-letter code of ISO 3166 such as "US", or to be left out',
    "reason": f"a text of at most {REASON_MAX_LENGTH} characters",
}


def _problem(error: ErrorDetails, where: str) -> str:
    """Return the value that a field has and what is wanted, in one line."""
    # An item or an address may be wrong as a whole. Its own name is then the last part of `where`.
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
    return f"got {short_json(got)}{length}{wanted}"


SHORT_JSON_LENGTH = 40


def short_json(value: Any) -> str:
    """Return a value in JSON, shortened, and with only printable characters."""
    if isinstance(value, Decimal):
        text = str(value)
    elif isinstance(value, list | dict):
        text = "a list" if isinstance(value, list) else "an object"
    else:
        text = json.dumps(value, ensure_ascii=False, default=str)
    if len(text) > SHORT_JSON_LENGTH:
        text = f"{text[: SHORT_JSON_LENGTH - 1]}…"
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode() for one in text
    )


def parse_json(field: str, text: str) -> Any:
    """Parse JSON, more strictly than Python does.

    Numbers become Decimal, so they keep every digit. NaN, Infinity and repeated keys are errors.

    Raises:
        BadInputError: The text is not such JSON. The message begins with `field`.
    """

    def number(digits: str) -> Decimal:
        try:
            return Decimal(digits)
        except InvalidOperation:
            raise ValueError("the exponent of a number is too large") from None

    def no_constant(name: str) -> None:
        raise ValueError(f"{name} is not a number")

    def without_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys: set[str] = set()
        for key, _ in pairs:
            if key in keys:
                raise ValueError(f"the key {short_json(key)} appears twice")
            keys.add(key)
        return dict(pairs)

    try:
        return json.loads(
            # Some editors write a byte-order mark at the start of every file.
            text.removeprefix("\ufeff"),
            parse_float=number,
            parse_constant=no_constant,
            object_pairs_hook=without_repeated_keys,
        )
    except json.JSONDecodeError as error:
        why = f"{_why_not_json(error)}; wanted: {_WANTED[field]}"
    except RecursionError:
        why = "it is nested too deeply"
    except ValueError as error:
        why = str(error)
    raise BadInputError(f"{field}: not JSON: {why}")


def _why_not_json(error: json.JSONDecodeError) -> str:
    """Return the mistake if it is a common one, else the position of the error."""
    rest = error.doc[error.pos :]
    before = error.doc[: error.pos].rstrip()
    if not error.doc.strip():
        return "it is empty"
    if not rest:
        return "it ends too early"
    if rest.startswith("'"):
        return "JSON needs double quotes: \"name\", not 'name'"
    if rest[0] in "\u201c\u201d\u201e\u2018\u2019\u00ab":
        return f'JSON needs straight quotes: "name", not {rest[0]}'
    if re.match(r"\s*,\s*[\]}]", rest) or (
        before.endswith(",") and rest.lstrip().startswith(("]", "}"))
    ):
        return "remove the comma before the closing bracket"
    if re.fullmatch(r"[\w./~-]+\.json", error.doc.strip()):
        return f"to read a file, write an @ before its name: {short_json('@' + error.doc.strip())}"
    return f"{error.msg.removesuffix(' at')} at character {error.pos + 1}, {short_json(rest[:20])}"
