"""Workers name a database that they cannot use: before they take an order, and when a step fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from sqlalchemy import NullPool, create_engine, make_url, text

from order_lifecycle.cli.report import fetch_report
from order_lifecycle.client import connect, pollers, start_order
from order_lifecycle.domain import Policy
from order_lifecycle.settings import Settings
from order_lifecycle.stack.migrate import migrate
from order_lifecycle.workers.base import READY
from tests.support.orders import an_order
from tests.support.repeats import in_proof
from tests.support.waiting import until
from tests.support.worker_process import WorkerProcess

Start = Callable[..., WorkerProcess]


def administer(url: str, statement: str) -> None:
    with create_engine(url, isolation_level="AUTOCOMMIT", poolclass=NullPool).connect() as server:
        server.execute(text(statement))


def test_a_worker_that_cannot_reach_its_database_says_so_and_takes_no_order(
    start_worker: Start, environment: dict[str, str]
) -> None:
    url = make_url(environment["DATABASE_URL"]).set(port=1).render_as_string(hide_password=False)
    worker = start_worker("order", environment=environment | {"DATABASE_URL": url})
    worker.until_said("waiting: PostgreSQL at 127.0.0.1:1 refuses the connection")
    assert worker.end() == 0
    assert READY not in worker.said()
    assert worker.said().count("waiting: ") == 1


async def test_a_worker_waits_for_the_tables_and_then_polls(
    start_worker: Start, environment: dict[str, str], settings: Settings, bare_database_url: str
) -> None:
    worker = start_worker("order", environment=environment | {"DATABASE_URL": bare_database_url})
    worker.until_said("has no tables for orders yet: run `alembic upgrade head`")
    polled = await pollers(await connect(settings), "order-tq")
    assert not [one for one in polled if one.startswith(f"{worker.process.pid}@")]
    await asyncio.to_thread(migrate, bare_database_url)
    worker.until_said(READY)


def test_a_worker_names_a_database_of_another_project(
    start_worker: Start, environment: dict[str, str], bare_database_url: str
) -> None:
    administer(bare_database_url, "CREATE TABLE things (id int)")
    worker = start_worker("order", environment=environment | {"DATABASE_URL": bare_database_url})
    worker.until_said("has a database of another project: it has the table things. Is DATABASE_URL right?")


@pytest.mark.parametrize(
    ("damage", "cause"),
    [
        ("ALTER TABLE orders RENAME TO gone", "has no tables for orders yet: run `alembic upgrade head`"),
        *in_proof(
            ("REVOKE ALL ON orders, events FROM orders", "refused: permission denied for table orders"),
            ("ALTER DATABASE {name} SET default_transaction_read_only = on", "is read-only: cannot execute INSERT"),
            ("ALTER DATABASE {name} CONNECTION LIMIT 0", "has no connection free: too many connections for database"),
        ),
    ],
)
async def test_the_status_of_an_order_names_the_cause(
    start_worker: Start, settings: Settings, owner_url: str, superuser_url: str, damage: str, cause: str
) -> None:
    """This holds for any number of attempts: Temporal keeps the last failure of a step, if it is short."""
    name = str(make_url(owner_url).database)
    worker = start_worker("order")
    worker.until_said(READY)
    administer(owner_url, damage.format(name=name))
    administer(  # as after a restart of the server
        superuser_url,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )
    client = await connect(settings)
    order = an_order(f"cause-{name}")
    handle = await start_order(client, order, Policy())

    async def last_failures() -> list[str]:
        return [pending.last_failure or "" for pending in (await fetch_report(client, order.id)).pending]

    try:
        failures = await until(last_failures, lambda them: any(cause in each for each in them), timeout=60)
    finally:
        await handle.terminate()
    assert f"PostgreSQL at 127.0.0.1:{make_url(owner_url).port} {cause}" in failures[0]
    assert cause in worker.said()
    assert "Traceback" not in worker.said()
