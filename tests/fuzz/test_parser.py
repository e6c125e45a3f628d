"""Any command line, environment or `.env` gets a status of 0, 1 or 2, and no traceback.

Bad input also gets a sentence that names the mistake, and writes nothing. tests/test_domain.py has the fields of an
order.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from order_lifecycle.cli.app import main
from order_lifecycle.db.store import Store, connect
from order_lifecycle.domain import (
    REASON_MAX_LENGTH,
    Address,
    BadInputError,
    clean_reason,
    parse_address,
    parse_order,
    parse_order_id,
    parse_reason,
)
from order_lifecycle.settings import Addresses, Settings
from order_lifecycle.stack import process
from order_lifecycle.workers.base import command
from order_lifecycle.workers.order_worker import ORDER
from tests.support.hostile_input import BYTES, CONTROL, LONG, PLAIN_BUT_HOSTILE, VALUES

ITEMS = '[{"name":"apple","qty":1,"price":5.00}]'
ADDRESS = '{"address":"575 Lake Dr.","city":"Columbus","state":"OH","zipcode":"43210"}'
START = ["start", "abc-001", "123", "--items", ITEMS, "--address", ADDRESS]
FIELDS = [name for name in Address.model_fields if name != "country"]
SURROGATE = "a\udc80b"  # what Python makes of an argument that is not UTF-8

ANY_TEXT = st.text(st.characters())  # lone surrogates and control characters, too
NASTY = st.sampled_from(
    [*PLAIN_BUT_HOSTILE, *CONTROL, SURROGATE, "", " ", "-", "--", "--=", "-h=", "NaN", "-1", "1e999", "9" * 5000]
    + [json.dumps(value)[:2000] for value in VALUES]
    + [data[:2000].decode(errors="surrogateescape") for data in BYTES]
)
ANYTHING = ANY_TEXT | NASTY


@dataclass(frozen=True)
class Answer:
    status: int
    out: str
    err: str


def answer(entry: Callable[[], object], *arguments: str) -> Answer:
    """Run an entry point in this process. Standard output and error are as strict as a terminal's."""
    out = io.TextIOWrapper(io.BytesIO(), "utf-8", "strict", write_through=True)
    err = io.TextIOWrapper(io.BytesIO(), "utf-8", "backslashreplace", write_through=True)
    before, sys.argv = sys.argv, ["order-lifecycle", *arguments]
    try:
        with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as end:
            entry()
    finally:
        sys.argv = before
    # None is 0 and a text is 1, as for Python itself.
    status = end.value.code if isinstance(end.value.code, int) else int(end.value.code is not None)
    return Answer(status, *(stream.buffer.getvalue().decode() for stream in (out, err)))


def refusal(call: Callable[[], object]) -> str | None:
    """Return why it is bad input, or None."""
    try:
        call()
    except BadInputError as refused:
        return str(refused)
    return None


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_SHUTDOWN_DELAY", 0)


@pytest.fixture(autouse=True)
def nothing_is_written(tmp_path: Path) -> Iterator[None]:
    before = sorted(tmp_path.rglob("*"))
    yield
    assert sorted(tmp_path.rglob("*")) == before


# --- the models ------------------------------------------------------------------------------------------------------


@pytest.mark.search
@given(ANYTHING)
def test_any_text_is_valid_or_refused_in_one_line(text: str) -> None:
    for parse in (parse_address, parse_order_id, parse_reason, lambda text: parse_order("a", "b", text, text)):
        refused = refusal(lambda: json.dumps(parse(text), default=str).encode())  # noqa: B023, called at once
        if refused is not None:
            assert refused.isprintable()
            assert len(refused) < 250
            assert refused.startswith(("address", "id", "reason", "items"))


@pytest.mark.search
@given(ANYTHING)
def test_any_text_can_be_recorded_as_a_reason(text: str) -> None:
    told = clean_reason(text)
    assert parse_reason(told) == told == clean_reason(told)
    assert len(told) == min(len(text), REASON_MAX_LENGTH)
    if len(text) <= REASON_MAX_LENGTH and text.isprintable():
        assert told == text


# --- the command line ------------------------------------------------------------------------------------------------

# Arguments that are wrong, and what the answer must name.
WRONG: list[tuple[list[str], str]] = [
    ([], "Usage"),
    (["--no-such"], "--no-such"),
    (["no-such"], "no-such"),
    (["Start"], "Start"),
    ([SURROGATE], "command"),
    (["\0"], "command"),
    (["x" * LONG], "command"),
    (["start"], "ORDER_ID"),
    (START[:2], "PAYMENT_ID"),
    (START[:3], "--items"),
    (START[:5], "--address"),
    ([*START, "more"], "more"),
    ([*START, "--items"], "--items"),
    ([*START, "--items", "[{"], "items"),  # the last one counts
    ([*START, "--address", ADDRESS, "--address", "[]"], "address"),
    ([*START, "--approve=yes"], "--approve"),
    ([*START, "--no-approve"], "--no-approve"),
    ([*START[:1], SURROGATE, *START[2:]], "id"),
    ([*START[:2], SURROGATE, *START[3:]], "payment_id"),
    ([*START[:4], SURROGATE, *START[5:]], "items"),
    ([*START[:4], "x" * LONG, *START[5:]], "items"),
    ([*START[:4], "[" * LONG, *START[5:]], "items"),
    (["approve", "a/b"], "id"),
    (["approve", "abc-001", "--signal", "--no-such"], "--no-such"),
    (["cancel", SURROGATE], "id"),
    (["status", "x" * 500], "id"),
    (["status", "abc-001", "abc-002"], "abc-002"),
    (["tables", SURROGATE], "id"),
    (["tables", "\0"], "id"),
    (["tables", "--table", "no-such"], "--table"),
    (["list", "--state", "no-such"], "--state"),
    *((["list", "--limit", limit], "--limit") for limit in ("0", "-1", "1.5", "NaN", "x", "", "9" * 5000)),
    *((["up", "--port", port], "--port") for port in ("0", "-1", "65536", "1e3", "NaN", "http", "9" * 30)),
    (["up", "--ui-port", "99999"], "--ui-port"),
    (["up", "--home", "a\0b"], "--home"),
    (["up", "--home", SURROGATE], "--home"),
    (["up", "--home", "~nobody-of-that-name/x"], "--home"),
    (["up", "--home", "here", "--ephemeral"], "--home"),
    (["worker"], "NAME"),
    (["worker", "no-such"], "no-such"),
    *((["cancel", "abc-001", "--reason", why], "reason") for why in [*CONTROL, SURROGATE, "x" * 501]),
    *((["update-address", "abc-001", "--address", json.dumps(value)], "address") for value in VALUES),
]


@pytest.mark.parametrize(("arguments", "names"), WRONG, ids=lambda of: ascii(of)[:60])
def test_a_wrong_command_line_is_refused_without_a_traceback(arguments: list[str], names: str) -> None:
    told = answer(main, *arguments)
    assert told.status == 2
    assert names.lower() in (told.err + told.out * (not arguments)).lower()
    assert "Traceback" not in told.err


@pytest.mark.search
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(["start", "approve", "update-address", "cancel", "status", "list", "tables", "audit", "worker"]),
    st.lists(
        ANYTHING
        | st.sampled_from(["abc-001", "--json", "--signal", "--watch", "--items", "--address", "--reason", "--limit"])
        | st.sampled_from(["--state", "--table", "--approve", "--help", "--", ITEMS, ADDRESS]),
        max_size=6,
    ),
)
def test_any_arguments_are_answered_without_a_traceback(name: str, arguments: list[str]) -> None:
    told = answer(main, name, *arguments)
    assert told.status in ((0,) if told.out else (1, 2))  # 0 is for --help
    assert "Traceback" not in told.err
    if told.status == 1:  # what is right is refused because no server is there
        assert "Start one with `order-lifecycle up`" in told.err
        assert told.err.count("\n") == 1
    elif told.status == 2:
        assert told.err


@pytest.mark.parametrize(
    "arguments", [["--faults-fail", "2"], ["--faults-fail=nan"], ["--faults-hang=-1"], ["--faults-seed", "x"], ["more"]]
)
def test_a_wrong_command_line_of_a_worker_is_refused(arguments: list[str]) -> None:
    told = answer(lambda: command(ORDER), *arguments)
    assert told.status == 2
    assert arguments[0].partition("=")[0] in told.err


def test_arguments_that_are_not_text_are_refused() -> None:
    """A real process gets them as bytes."""
    told = subprocess.run(
        [sys.executable, "-m", "order_lifecycle", b"cancel", b"abc-001", b"--reason", b"\xff\xfe"],
        capture_output=True,
        check=False,
    )
    assert (told.returncode, told.stdout) == (2, b"")
    assert told.stderr.startswith(b"reason: ")
    assert told.stderr.count(b"\n") == 1


# --- the environment -------------------------------------------------------------------------------------------------

NO_SPANS = ["0", "-1", "nan", "inf", "1e300", "1e-300", "x", "1 2", "9" * 500]
NO_SHARES = ["-0.1", "1.1", "nan", "inf", "x"]
VARIABLES: dict[str, list[str]] = {
    "REVIEW_TIMEOUT_SECONDS": NO_SPANS,
    "ORDER_BUDGET_SECONDS": NO_SPANS,
    "STICKY_SECONDS": NO_SPANS,
    "FAULTS_FAIL": NO_SHARES,
    "FAULTS_HANG": NO_SHARES,
    "FAULTS_SEED": ["x", "1.5", "nan", "9" * 5000],
    "FAULTS_ALWAYS_FAIL": [SURROGATE, "\x1b[2J"],
    "LOG_JSON": ["maybe", "2", SURROGATE],
    "TEMPORAL_HOST": ["localhost", ":7233", "localhost:", "a b:1", "h:0", "h:65536", "http://h:1", "u@h:1", SURROGATE],
    "TEMPORAL_NAMESPACE": [SURROGATE, "a\nb"],
    "TEMPORAL_UI_URL": [SURROGATE, "\x1b]0;x\x07"],
    "DATABASE_URL": [
        "x",
        "mysql://u:do-not-tell@h/d",
        "postgresql://u:do-not-tell@h:port/d",
        "postgresql://u:do-not-tell@h:99999/d",
        "postgresql://u:do-not-@-tell@h/d",
        "postgresql://u:do/not-tell@h/d",
        "postgresql://[::1:do-not-tell",
        "postgresql://h/d?password=do-not-tell",
        f"postgresql://u:do-not-tell{SURROGATE}@h/d",
    ],
    "ORDER_LIFECYCLE_HOME": ["~nobody-of-that-name/x", SURROGATE, "a\nb"],
}
HOSTILE = [(name, value) for name, values in VARIABLES.items() for value in values]


@pytest.mark.parametrize(("name", "value"), HOSTILE, ids=lambda of: ascii(of)[:40])
def test_a_malformed_variable_is_refused(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    for entry, arguments in ((main, ["status", "abc-001"]), (lambda: command(ORDER), [])):
        told = answer(entry, *arguments)
        assert (told.status, told.out) == (2, "")
        assert told.err.startswith(f"{name} (in the environment or in .env): ")
        assert told.err.count("\n") == 1
        assert "not-" not in told.err
        assert "Traceback" not in told.err


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("ORDER_BUDGET_SECONDS", "1 hour", 'got "1 hour"; wanted: a valid number'),
        ("SHIPPING_TRIES", "0", 'got "0"; wanted: greater than or equal to 1, such as 3'),
        ("LOG_JSON", "maybe", 'got "maybe"; wanted: a valid boolean'),
    ],
)
def test_a_refused_variable_is_named_with_its_value(
    name: str, value: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    assert says in (refusal(Settings) or "")


def can_be_a_variable(value: str) -> bool:
    """Return True if a variable can hold it: bytes that are not UTF-8 can be, a NUL or another surrogate cannot."""
    return "\0" not in value and not any("\ud800" <= c < "\udc80" or "\udcff" < c <= "\udfff" for c in value)


@pytest.mark.search
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(sorted(VARIABLES)), ANYTHING.filter(can_be_a_variable))
def test_any_variable_is_accepted_or_refused_without_a_traceback(name: str, value: str) -> None:
    before = dict(os.environ)
    try:
        os.environ[name] = value
        refused = refusal(lambda: (Settings().policy(), Settings().resolved()))
    finally:
        os.environ.clear()
        os.environ.update(before)
    if refused is not None:
        assert refused.startswith(f"{name} (")
        assert refused.isprintable()


@pytest.mark.parametrize("content", [bytes(range(256)), b"\xff" * 1000, b"TEMPORAL_HOST=\xff"])
def test_a_dotenv_that_is_not_text_is_refused(content: bytes, tmp_path: Path) -> None:
    with ExitStack() as clean_up:
        Path(".env").write_bytes(content)
        clean_up.callback(Path(".env").unlink)
        told = answer(main, "status", "abc-001")
    assert (told.status, told.out) == (2, "")
    assert told.err == ".env: it is not a text file in UTF-8\n"


def test_a_dotenv_that_cannot_be_read_is_refused() -> None:
    """It is like a file of another user. Root could read that, but not this one."""
    with ExitStack() as clean_up:
        Path(".env").symlink_to("/proc/self/mem")
        clean_up.callback(Path(".env").unlink)
        told = [answer(main, "status", "abc-001"), answer(lambda: command(ORDER))]
    for each in told:
        assert (each.status, each.out) == (2, "")
        assert each.err.startswith(".env: it cannot be read (")
        assert "move it away" in each.err
        assert each.err.count("\n") == 1


def test_a_folder_called_env_is_not_read_as_settings() -> None:
    with ExitStack() as clean_up:
        Path(".env").mkdir()
        clean_up.callback(Path(".env").rmdir)
        told = answer(main, "status", "abc-001")
    assert told.status == 1
    assert "Start one with `order-lifecycle up`" in told.err


# --- a server that is there, and says no -----------------------------------------------------------------------------


@pytest.mark.parametrize("namespace", ["no-such", "a b/c", "x" * 2000, "'; DROP TABLE orders; --"])
def test_an_unknown_namespace_is_named(namespace: str, stack: Addresses, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEMPORAL_HOST", stack.temporal_host)
    monkeypatch.setenv("DATABASE_URL", stack.database_url)
    monkeypatch.setenv("TEMPORAL_NAMESPACE", namespace)
    for arguments in (["list"], ["status", "abc-001"], ["approve", "abc-001"], ["audit"], START):
        told = answer(main, *arguments)
        assert told.status == 1, told
        assert "Traceback" not in told.err
        assert told.err.startswith("invariant 7 " if arguments == ["audit"] else "Temporal refused: ")
        assert told.err.count("\n") == 1
    told = answer(main, "doctor")
    assert (told.status, told.err) == (1, "")
    assert told.out.count("MISSING ") == 3  # the search attributes and both workers
    assert "Temporal refused: " in told.out


def test_tables_show_hostile_text_unchanged(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("COLUMNS", "1000")
    engine = connect(database_url)
    shown = [text for text in PLAIN_BUT_HOSTILE if text.isprintable()]
    for number, text in enumerate(shown):
        order = parse_order(f"abc-{number}", f"pay-{number}", ITEMS, json.dumps(dict.fromkeys(FIELDS, text)))
        Store(engine).receive(order, run_id="run")
    engine.dispose()
    rows = json.loads(answer(main, "tables", "--json").out)["orders"]
    assert [row["address_json"] for row in rows] == [dict.fromkeys(FIELDS, text) for text in shown]
    told = answer(main, "tables", "--table", "orders")
    assert (told.status, told.err) == (0, "")
    assert [text for text in shown if f"{text}, {text}" not in told.out] == []
