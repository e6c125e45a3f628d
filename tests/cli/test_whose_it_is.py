"""`doctor` and `up` distinguish our databases and workers from those of other projects."""

from __future__ import annotations

import asyncio
import shutil
import uuid
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import make_url
from temporalio import workflow
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from order_lifecycle.client import connect as connect_to_temporal
from order_lifecycle.client import pollers, worker_identity
from order_lifecycle.db.connection import connect, database_name
from order_lifecycle.settings import Settings
from order_lifecycle.stack import migrate as migrations
from order_lifecycle.stack.errors import StackError
from order_lifecycle.stack.migrate import migrate
from tests.support.command_line import Answer

Command = Callable[..., Answer]


@workflow.defn
class Nothing:
    @workflow.run
    async def run(self) -> None: ...


def with_schema(database_url: str, *revisions: str) -> None:
    """Give an empty database the version that Alembic records after a migration of that name."""
    engine = connect(database_url)
    with engine.begin() as tx:
        tx.exec_driver_sql("CREATE TABLE IF NOT EXISTS alembic_version (version_num varchar(32) PRIMARY KEY)")
        tx.exec_driver_sql("DELETE FROM alembic_version")
        for revision in revisions:
            tx.exec_driver_sql("INSERT INTO alembic_version VALUES (%s)", (revision,))
    engine.dispose()


WHOSE = [
    (["ae1027a6acf"], "is another project's: its alembic_version says ae1027a6acf, which this project does not know"),
    (["3f2a", "ae10"], "is another project's: its alembic_version says 3f2a, ae10"),
    (["0999"], "was migrated by a newer version of this project (schema 0999; "),
]


@pytest.mark.parametrize(("revisions", "says"), WHOSE)
def test_a_schema_of_another_project_is_refused(
    inside: Command, bare_database_url: str, revisions: list[str], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_schema(bare_database_url, *revisions)
    monkeypatch.setenv("DATABASE_URL", bare_database_url)
    told = inside("doctor")
    assert told.status == 1
    assert "MISSING  PostgreSQL: postgresql" in told.out
    assert says in told.out
    with pytest.raises(StackError) as refused:
        migrate(bare_database_url)
    assert says in str(refused.value)
    assert make_url(bare_database_url).password not in str(refused.value) + told.out  # type: ignore[operator]


def test_an_older_schema_is_named(
    inside: Command, database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    newer = tmp_path / "migrations"
    shutil.copytree(migrations.MIGRATIONS, newer)
    head = ScriptDirectory(str(newer)).get_current_head()
    (newer / "versions" / "0998_more.py").write_text(f"revision = '0998'\ndown_revision = {head!r}\n")
    monkeypatch.setattr(migrations, "MIGRATIONS", newer)
    monkeypatch.setenv("DATABASE_URL", database_url)
    told = inside("doctor").out
    assert f"has the schema {head}, and the newest is 0998: run `alembic upgrade head`" in told


def test_tables_of_another_project_with_our_names_are_refused(bare_database_url: str) -> None:
    engine = connect(bare_database_url)
    with engine.begin() as tx:
        tx.exec_driver_sql("CREATE TABLE orders (number integer)")
    engine.dispose()
    with pytest.raises(
        StackError, match=r"is another project's: a table of it has the name of one of ours .*orders.* already exists"
    ):
        migrate(bare_database_url)


async def test_a_worker_on_our_queue_with_another_database_is_named(
    inside: Command, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The workers of two stacks poll one Temporal, so half of the orders would go to the other database."""
    for name in ("TEMPORAL_HOST", "DATABASE_URL"):
        monkeypatch.setenv(name, environment[name])
    # In a namespace of its own: Temporal remembers the pollers of other tests for minutes.
    namespace = f"workers-{uuid.uuid4().hex}"
    request = RegisterNamespaceRequest(namespace=namespace)
    request.workflow_execution_retention_period.FromTimedelta(timedelta(days=1))
    await (await Client.connect(environment["TEMPORAL_HOST"])).workflow_service.register_namespace(request)
    monkeypatch.setenv("TEMPORAL_NAMESPACE", namespace)
    settings = Settings()
    theirs = "postgresql://orders:secret@10.1.2.3:5999/theirs"
    ours = database_name(environment["DATABASE_URL"])
    stranger = await connect_to_temporal(settings, identity=worker_identity(theirs))
    async with Worker(
        stranger, task_queue="order-tq", workflows=[Nothing], workflow_runner=UnsandboxedWorkflowRunner()
    ):
        await until_it_polls(stranger)
        told = (await asyncio.to_thread(inside, "doctor")).out
        assert "MISSING  order worker: none is ours: start one with `order-lifecycle worker order`; " in told
        assert f"1 polled order-tq for another database (10.1.2.3:5999/theirs, not {ours})" in told
        assert "secret" not in told
        own = await connect_to_temporal(settings, identity=worker_identity(environment["DATABASE_URL"]))
        async with Worker(own, task_queue="order-tq", workflows=[Nothing], workflow_runner=UnsandboxedWorkflowRunner()):
            await until_it_polls(own)
            told = (await asyncio.to_thread(inside, "doctor")).out
            assert "MISSING  order worker: 1 polled order-tq in the last minutes; 1 polled order-tq for another" in told


async def until_it_polls(client: Client) -> None:
    async with asyncio.timeout(60):
        while True:
            if client.identity in await pollers(client, "order-tq"):
                return
            await asyncio.sleep(0.05)  # between two looks
