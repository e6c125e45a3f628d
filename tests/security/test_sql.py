"""No SQL is built from text: every statement is a constant, and every input is a parameter of it."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from order_lifecycle.db.audit import audit
from order_lifecycle.db.store import Store, connect
from order_lifecycle.domain import Address, EventType, Item, Order, OrderState
from tests.support.hostile_input import PLAIN_BUT_HOSTILE

TOP = Path(__file__).parents[2]
FILES = [*(TOP / "order_lifecycle").rglob("*.py"), *(TOP / "migrations").rglob("*.py")]

# What takes SQL as text (or, list_workflows, Temporal's query language).
TAKES_SQL = {"text", "literal_column", "DDL", "CheckConstraint", "exec_driver_sql", "list_workflows"}
EXECUTES_TEXT = {"op", "cursor"}

# Each text that is no constant, with the reason why it may be there.
NO_CONSTANTS = {
    ("order_lifecycle/db/connection.py", "shown"): "placeholders alone, the names are given apart",
    ("order_lifecycle/db/connection.py", "f'SELECT {calls}'"): "placeholders alone, names and values are given apart",
    ("order_lifecycle/db/audit.py", "query"): "it is one of QUERIES, all of them constants",
    ("order_lifecycle/db/models.py", "_one_of('state', OrderState)"): "made of the names of an Enum",
    ("order_lifecycle/db/models.py", "_one_of('status', PaymentStatus)"): "made of the names of an Enum",
    ("order_lifecycle/db/models.py", "_one_of('type', EventType)"): "made of the names of an Enum",
    ("order_lifecycle/lab/checks/nb11_in_production.py", "query"): "a filter of Temporal's list, which a learner wrote",
    ("order_lifecycle/cli/report.py", "query"): "a state is the only part, and it is an OrderState",
    ("order_lifecycle/db/roles.py", "statement"): "made of column names that are constants there, and of quoted names",
    (
        "order_lifecycle/stack/postgres_roles.py",
        "statement",
    ): "constant names, and what psycopg2 quotes",
    ("order_lifecycle/stack/postgres_roles.py", "query"): "constants, whose values are given apart",
    (
        "migrations/versions/0001_orders_payments_events.py",
        "f'DROP FUNCTION {function}'",
    ): "the names stand in the loop around it",
    ("migrations/versions/0002_what_is_written_stays.py", "rules"): "one of the constants above it",
    (
        "migrations/versions/0002_what_is_written_stays.py",
        "f'DROP FUNCTION {function} CASCADE'",
    ): "the names stand in the loop around it",
}


def texts(module: ast.Module) -> Iterator[ast.expr]:
    """Yield each expression that is passed as SQL and is not a constant."""
    constants = {
        target.id
        for node in module.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for call in ast.walk(module):
        if not isinstance(call, ast.Call) or not call.args:
            continue
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        of = getattr(call.func.value, "id", "") if isinstance(call.func, ast.Attribute) else ""
        sql = call.args[0]
        constant = isinstance(sql, ast.Constant) or (isinstance(sql, ast.Name) and sql.id in constants)
        together = isinstance(sql, ast.JoinedStr | ast.BinOp)  # whatever executes it
        if not constant and (
            name in TAKES_SQL
            or (name == "execute" and (of in EXECUTES_TEXT or together))
            or (name in ("scalar", "scalars") and together)
        ):
            yield sql


def test_every_statement_is_a_constant() -> None:
    found = {
        (str(file.relative_to(TOP)), ast.unparse(sql)) for file in FILES for sql in texts(ast.parse(file.read_text()))
    }
    assert found == NO_CONSTANTS.keys()


@pytest.mark.parametrize(
    "line",
    [
        'tx.execute(text(f"SELECT {x}"))',
        'tx.execute(f"SELECT {x}")',
        'tx.execute("SELECT " + x)',
        'cursor.execute("SELECT %s" % x)',
        'op.execute("SELECT {}".format(x))',
        'tx.scalar(f"SELECT {x}")',
        "tx.exec_driver_sql(x)",
        "sa.text(x)",
    ],
)
def test_a_statement_built_from_text_is_found(line: str) -> None:
    assert len([*texts(ast.parse(line))]) == 1


def test_ruff_finds_a_statement_built_from_text(tmp_path: Path) -> None:
    """The rule S608 is on, so that ruff checks the next statement."""
    sample = tmp_path / "sample.py"
    sample.write_text(
        '"""A sample."""\n\n\ndef find(order: str) -> str:\n    """Find it."""\n'
        "    return f\"SELECT * FROM orders WHERE id = '{order}'\"\n"
    )
    ruff = [sys.executable, "-m", "ruff", "check", "--no-cache", "--config", str(TOP / "pyproject.toml"), str(sample)]
    told = subprocess.run(ruff, capture_output=True, text=True, check=False)
    assert told.returncode == 1
    assert "S608" in told.stdout
    assert "Found 1 error" in told.stdout


def test_every_method_of_the_store_keeps_hostile_text_as_text(database_url: str) -> None:
    """This holds even for an ID, where Order would refuse such text."""
    engine = connect(database_url)
    store = Store(engine)
    for number, text in enumerate(PLAIN_BUT_HOSTILE):
        there = Address(address=text, city=text, state=text, zipcode=text)
        order = Order.model_construct(
            id=text, payment_id=f"pay {text}", items=[Item(name=text, qty=1, price=Decimal(5))], address=there
        )
        assert store.receive(order, run_id=text) is OrderState.RECEIVED
        assert store.validate(order) is OrderState.AWAITING_REVIEW
        store.advance(order.id, EventType.ORDER_APPROVED, {"reason": text, text: text})
        assert store.charge(order.id, order.payment_id) == Decimal(5)
        assert store.address(order.id) == there
        store.change_address(order.id, "run/1", there)
        store.note(order.id, EventType.DISPATCH_FAILED, "run/1", {"reason": text})
        store.advance(order.id, EventType.PACKAGE_PREPARED)
        if number % 2:
            store.dispatch(order.id, there)
            store.advance(order.id, EventType.ORDER_SHIPPED)
        else:
            store.close(order, text, OrderState.CANCELLED, text)

        (row,) = store.rows("orders", text)
        assert (row["id"], row["items"][0]["name"], row["address_json"]) == (text, text, there.model_dump())
        (payment,) = store.rows("payments", text)
        assert (payment["payment_id"], payment["order_id"]) == (f"pay {text}", text)
        told = {event["type"]: event["payload_json"] for event in store.rows("events", text)}
        assert told["order_received"] == {"payment_id": f"pay {text}", "run_id": text}
        assert told["order_approved"] == {"reason": text, text: text}
        assert told["address_changed"] == there.model_dump()
        assert told["dispatch_failed"] == {"reason": text}
        if number % 2:
            assert told["carrier_dispatched"] == {"address": there.model_dump()}
        else:
            assert told["order_cancelled"] == {"reason": text}
    ends = {text: "shipped" if number % 2 else "cancelled" for number, text in enumerate(PLAIN_BUT_HOSTILE)}
    assert {order_id: standing.state for order_id, standing in store.order_states().items()} == ends
    assert audit(engine) == []
    engine.dispose()
