"""Input that an attacker or a broken program might send."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from temporalio.api.common.v1 import Payload

LONG = 50_000  # our own server takes 65,536 bytes in one message, and an answer repeats the question

# Texts that an address or a reason may have: each is stored, and comes back, as it is.
PLAIN_BUT_HOSTILE = [
    "'; DROP TABLE orders; --",
    "' OR '1'='1",
    "O'Neill \\' \\\\ \"",
    "%s %(name)s %% :name $1 {0} {name} ${HOME} $(id) `id`",
    "<script>alert('x')</script><img src=x onerror=alert(1)>&amp;",
    "[bold red]x[/bold red] [/nothing] [link=file:///etc/passwd]",
    ":smile: :warning:",
    "$x^2$ \\frac{1}{2} **bold** _x_ | a | b |",
    '{"a": 1} [] null NaN true',
    "null",
    "0",
    "\u202etxt.exe\u202c \u200b\ufeff\u2066",
    "Äpfel, 苹果 🍏 \U0010ffff \ufffe a\u0301",
]
# Texts that have what cannot be stored or shown.
CONTROL = ["a\0b", "\0", "two\nlines\r\n", "\x1b[2J\x1b[31mred", "\x07\x08\x7f", "\x9b31m", "\x1b]0;title\x07"]
TEXTS = [*PLAIN_BUT_HOSTILE, *CONTROL, "", " ", "x" * LONG]

# JSON that is no text, and no address.
VALUES: list[Any] = [
    None,
    True,
    0,
    -1,
    1.5,
    10**30,
    [],
    [[]],
    ["a"],
    [None] * 1000,
    {},
    {"": ""},
    {"address": "575 Lake Dr."},
    {"address": "575 Lake Dr.", "city": "Columbus", "state": "OH", "zipcode": 43210},
    {"address": "575 Lake Dr.", "city": "Columbus", "state": "OH", "zipcode": "43210", "more": 1},
    {"address": "575 Lake Dr.", "city": "Columbus", "country": "Germany"},
    {"address": "575 Lake Dr.", "city": "Columbus", "country": ["US"], "state": {}},
    {"address": "575 Lake Dr.", "city": "a\0b", "state": "OH", "zipcode": "43210"},
    {"address": "\x1b[31mred", "city": "Columbus", "state": "OH", "zipcode": "43210"},
    {"address": "x" * LONG, "city": "Columbus", "state": "OH", "zipcode": "43210"},
    {"address": None, "city": None, "state": None, "zipcode": None},
    {"address": {"address": {"address": {}}}},
    {"self": "self", "order": {}, "args": [], "kwargs": {}, "__class__": "Address"},
    {"order_id": "abc-001", "state": "shipped"},
]

# Bytes that are no JSON at all, or JSON that Python takes for it.
BYTES = [
    b"",
    b"{",
    b"nul",
    b"NaN",
    b"Infinity",
    b"-Infinity",
    b"1e999",
    b"\xff\xfe\x00",
    b"\x80",
    b'"\xed\xa0\x80"',  # a lone surrogate, as UTF-8 must not have it
    b'"\\ud800"',  # the same, as JSON may write it
    b'"\\udc00\\ud800"',
    b'"\\u00"',
    b'"a\x01b"',
    b"[" * 10_000,
    b"[" * 500 + b"]" * 500,
    b'{"a":' * 1_000,
    b'{"city": "a", "city": "b"}',
    b"\xef\xbb\xbfnull",
    b"9" * 5_000,
    bytes(range(256)),
    b"\x00" * LONG,
]
ENCODINGS = [
    b"json/plain",
    b"binary/plain",
    b"binary/null",
    b"binary/encrypted",
    b"json/protobuf",
    b"binary/protobuf",
    b"no/such",
    b"",
    b"\xff\x00",
]


def payload(data: bytes, encoding: bytes | None = b"json/plain", **metadata: bytes) -> Payload:
    return Payload(metadata={**({} if encoding is None else {"encoding": encoding}), **metadata}, data=data)


def of_json(value: Any) -> Payload:
    return payload(json.dumps(value).encode())


def _garbage() -> Iterator[Payload]:
    yield Payload()
    for value in VALUES:
        yield of_json(value)
    for data in BYTES:
        yield payload(data)
    for encoding in (*ENCODINGS[1:], None):
        for data in (b"", b'"text"', b"null", b"\xff", b"{}"):
            yield payload(data, encoding)
    for message in (b"temporal.api.common.v1.Payloads", b"google.protobuf.Struct", b"no.such", b"\xff", b""):
        for encoding in (b"json/protobuf", b"binary/protobuf"):
            for data in (b"", b"{}", b"\xff\xff"):
                yield payload(data, encoding, messageType=message)


# None of these is an argument of anything here: no text, no address, no order.
GARBAGE = [*_garbage()]

# And these no converter can read, whatever type it is asked for.
UNREADABLE = [
    Payload(),
    payload(b"{"),
    payload(b"\xff\xfe\x00"),
    payload(b"[" * 10_000),
    payload(b'"\\ud800"'),
    payload(b"null", None),
    payload(b"null", b"no/such"),
    payload(b"null", b"\xff\x00"),
    payload(b"null", b"binary/null"),
    payload(b"null", b"binary/encrypted"),
    payload(b"{}", b"json/protobuf", messageType=b"no.such"),
    payload(b"\xff\xff", b"binary/protobuf", messageType=b"temporal.api.common.v1.Payloads"),
]
