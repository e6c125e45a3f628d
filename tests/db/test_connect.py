"""The connection to the database: its limits, and what its errors say and do not say."""

from __future__ import annotations

import traceback
from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError, OperationalError, ProgrammingError

from order_lifecycle.db.store import connect
from order_lifecycle.stack import StackError
from order_lifecycle.stack.migrate import migrate

PASSWORD = "do-not-tell"


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg2"])
def test_every_way_to_write_the_address(engine: Engine, scheme: str) -> None:
    same = connect(engine.url.set(drivername=scheme).render_as_string(hide_password=False))
    with same.connect() as view:
        assert view.scalar(text("SELECT count(*) FROM orders")) == 0
    same.dispose()


def test_nothing_waits_for_ever(engine: Engine) -> None:
    with engine.connect() as view:
        assert view.scalar(text("SHOW statement_timeout")) == "5s"


def test_a_connection_that_was_cut_while_idle_is_replaced(engine: Engine) -> None:
    with engine.connect() as one, engine.connect() as two:
        number = two.scalar(text("SELECT pg_backend_pid()"))
        two.close()
        assert one.scalar(text("SELECT pg_terminate_backend(:number, 5000)"), {"number": number})
        with engine.connect() as again:
            assert again.scalar(text("SELECT pg_backend_pid()")) != number


@pytest.mark.parametrize(
    ("changed", "says"),
    [({"port": 1}, "Connection refused"), ({}, "password authentication failed")],
    ids=["nobody listens", "the wrong password"],
)
def test_no_error_tells_the_password(engine: Engine, changed: dict[str, Any], says: str) -> None:
    url = engine.url.set(password=PASSWORD, **changed).render_as_string(hide_password=False)
    ours = connect(url)
    with pytest.raises(OperationalError, match=says) as error:
        ours.connect()
    with pytest.raises(StackError, match=says) as migration:
        migrate(url)
    for shown in [ours, ours.url, error.value, migration.value, *error.value.args]:
        assert PASSWORD not in f"{shown} {shown!r}"
    for exception in [error.value, migration.value]:
        assert PASSWORD not in "".join(traceback.format_exception(exception))


def test_a_database_that_does_not_exist_is_named(engine: Engine) -> None:
    with pytest.raises(OperationalError, match='database "nothing" does not exist'):
        connect(engine.url.set(database="nothing").render_as_string(hide_password=False)).connect()


def test_a_database_without_tables(bare_database_url: str) -> None:
    engine = connect(bare_database_url)
    with engine.connect() as view, pytest.raises(ProgrammingError, match='relation "orders" does not exist'):
        view.execute(text("SELECT FROM orders"))
    engine.dispose()


def test_no_error_tells_a_customers_address(engine: Engine) -> None:
    with engine.connect() as tx, pytest.raises(DBAPIError) as error:
        tx.execute(text("SELECT 1 / 0, :street"), {"street": "575 Lake Dr."})
    assert "575 Lake Dr." not in str(error.value)
