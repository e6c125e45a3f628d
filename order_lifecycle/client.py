"""How this project connects to Temporal, from wherever it does."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import socket
from collections.abc import Callable, Sequence
from typing import Any

from temporalio.api.enums.v1 import IndexedValueType, TaskQueueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client, WithStartWorkflowOperation, WorkflowHandle
from temporalio.common import (
    SearchAttributeKey,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.envconfig import ClientConfig, ClientConnectConfig
from temporalio.service import RPCError, RPCStatusCode

from order_lifecycle.db.connection import database_name
from order_lifecycle.db.errors import why_unusable
from order_lifecycle.domain import BadInputError, Order, OrderResult, Policy, total
from order_lifecycle.failures import ShortFailures
from order_lifecycle.settings import NoServerError, Settings, no_database
from order_lifecycle.temporal_compat import PlainDataConverter
from order_lifecycle.workflows.order import (
    ORDER_QUEUE,
    ORDER_STATE,
    ORDER_TOTAL,
    OrderWorkflow,
)

# By which orders can be listed.
SEARCH_ATTRIBUTES: tuple[SearchAttributeKey[Any], ...] = (ORDER_STATE, ORDER_TOTAL)

_NOT_ALLOWED = (RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.UNIMPLEMENTED)


_WORKS_FOR = " for "


def identity(database_url: str) -> str:
    """Return the name under which the pollers of a task queue show this worker: process id and
    machine, as the SDK has it, and the database that it works for."""
    return f"{os.getpid()}@{socket.gethostname()}{_WORKS_FOR}{database_name(database_url)}"


def works_for(identity: str) -> str | None:
    """Return the `database_name` in a worker's identity, or None if it names none."""
    return identity.partition(_WORKS_FOR)[2] or None


async def connect(settings: Settings | None = None, identity: str | None = None) -> Client:
    """A client of the Temporal server that `settings` name. Raises NoServerError, or BadInputError.

    TLS, an API key and whatever else a company's cluster or Temporal Cloud needs come from
    Temporal's own variables (TEMPORAL_TLS…, TEMPORAL_API_KEY:
    https://docs.temporal.io/develop/environment-configuration).
    """
    settings = (settings or Settings()).resolved()
    if settings.temporal_host is None:
        raise NoServerError(
            "no Temporal server: TEMPORAL_HOST is not set, and no stack runs in "
            f"{settings.order_lifecycle_home}. Start one with `order-lifecycle up`"
        )
    options = _options(settings, settings.temporal_host)
    try:
        async with asyncio.timeout(10):
            return await Client.connect(
                **options,
                identity=identity,
                data_converter=PlainDataConverter(failure_converter_class=ShortFailures),
            )
    except ValueError as error:
        raise _unusable(error) from None
    except (RuntimeError, TimeoutError) as error:
        raise NoServerError(
            f"no Temporal server answers at {settings.temporal_host} ({str(error) or 'timeout'}). "
            "Is it running? `order-lifecycle doctor` looks at everything"
        ) from None


def namespace(settings: Settings) -> str:
    """The one that `connect` uses. Raises BadInputError."""
    settings = settings.resolved()
    return _options(settings, settings.temporal_host or "")["namespace"]


def _options(settings: Settings, host: str) -> ClientConnectConfig:
    """What Client.connect is to be told: what Temporal's own variables and file say, unless the
    server is ours, which knows of no key and no encryption. Raises BadInputError."""
    options = ClientConnectConfig()
    if not settings.temporal_is_ours:
        variables = {
            name: value for name, value in os.environ.items() if name.startswith("TEMPORAL_")
        }
        for name, value in variables.items():
            _check(name, value)
        try:
            # Given apart: of the whole environment, one variable of anybody that is not text would
            # end this process, with its value on the screen.
            options = ClientConfig.load_client_connect_config(override_env_vars=variables)
        except (RuntimeError, OSError) as error:
            raise _unusable(error) from None
        _check("the api_key in temporal.toml", options.get("api_key") or "")
    options["target_host"] = host
    if "temporal_namespace" in settings.model_fields_set or not options.get("namespace"):
        options["namespace"] = settings.temporal_namespace
    return options


# A key, a token or a certificate. A server takes headers of 16 KiB or less.
_SENT_AS_A_HEADER = re.compile("TEMPORAL_API_KEY|TEMPORAL_GRPC_META_.*|.*api_key.*")
_LONGEST_HEADER = 8192


def _check(name: str, value: str) -> None:
    """Raise BadInputError if the SDK could not use that value, or would print it in its own error.

    The error names the variable. It has nothing of the value, which may be a secret.
    """
    try:
        value.encode()
    except UnicodeEncodeError:
        raise BadInputError(
            f"{name}: it is not text in UTF-8. Set it again, as plain text"
        ) from None
    if not _SENT_AS_A_HEADER.fullmatch(name):
        return
    if not (value.isascii() and value.isprintable()):
        raise BadInputError(
            f"{name}: it has a line break or another character that a header cannot have. "
            "Set it again: one line of letters, digits and punctuation marks"
        )
    if len(value) > _LONGEST_HEADER:
        raise BadInputError(
            f"{name}: it has {len(value)} characters, and {_LONGEST_HEADER} is the most that a "
            "server takes. Is it the content of another file?"
        )


def _unusable(error: Exception) -> BadInputError:
    return BadInputError(
        "Temporal's own settings (the variables TEMPORAL_…, and the file temporal.toml) "
        f"cannot be used: {' '.join(str(error).split())}"
    )


async def connect_when_there(say: Callable[[str], None], stop: asyncio.Event) -> Client | None:
    """Like `connect`, but wait until there is a server to connect to, with the namespace, and a
    database that can serve orders, and say once what is missing. None if `stop` is set before."""
    said = ""
    while not stop.is_set():
        try:
            settings = Settings().resolved()
            if settings.database_url is None:
                raise NoServerError(no_database(settings.order_lifecycle_home))
            database_url = settings.database_url.get_secret_value()
            if why := await asyncio.to_thread(why_unusable, database_url):
                raise NoServerError(why)
            client = await connect(identity=identity(database_url))
            await register_search_attributes(client)
            return client
        except (NoServerError, RPCError) as error:
            if str(error) != said:
                said = str(error)
                say(f"waiting: {said}")
        try:
            await asyncio.wait_for(stop.wait(), 0.5)
        except TimeoutError:
            continue
    return None


async def register_search_attributes(client: Client) -> None:
    """Make the server know OrderState and OrderTotal, by which orders can be listed. Safe to
    repeat.

    A server that does not know them refuses every order's first step. Where the right to add them
    is somebody else's, as on Temporal Cloud, they have to be there already; if they are not, a
    warning says so."""
    wanted = AddSearchAttributesRequest(namespace=client.namespace)
    for key in SEARCH_ATTRIBUTES:
        wanted.search_attributes[key.name] = IndexedValueType.ValueType(key.indexed_value_type)
    try:
        await client.operator_service.add_search_attributes(wanted)
    except RPCError as error:
        if error.status is RPCStatusCode.ALREADY_EXISTS:
            return
        if error.status not in _NOT_ALLOWED:
            raise
        try:
            missing = await missing_search_attributes(client)
        except RPCError as also:
            if also.status not in _NOT_ALLOWED:
                raise
            return  # it may not even ask
        if missing:
            logging.getLogger(__name__).warning(
                "every order will hang in its first step: the namespace has no search attribute "
                "%s, and this worker may not add any. Somebody who may should run %s",
                " and no ".join(missing),
                how_to_add(missing, client.namespace),
            )


async def missing_search_attributes(client: Client) -> list[str]:
    """Those of the search attributes that every order needs that its namespace does not have."""
    missing = []
    for key in SEARCH_ATTRIBUTES:
        try:
            await client.count_workflows(f"{key.name} IS NULL")
        except RPCError as error:
            if error.status is not RPCStatusCode.INVALID_ARGUMENT:
                raise
            missing.append(key.name)
    return missing


def how_to_add(missing: Sequence[str], namespace: str) -> str:
    """The commands that add these search attributes."""
    commands = " and ".join(
        f"`temporal operator search-attribute create --namespace {namespace} "
        f"--name {key.name} --type {key.indexed_value_type.name.title()}`"
        for key in SEARCH_ATTRIBUTES
        if key.name in missing
    )
    return f"{commands} (on Temporal Cloud, add them with tcld)"


async def pollers(client: Client, task_queue: str) -> list[str]:
    """Who has asked this queue for workflow tasks in the last minutes: each worker's identity.
    Raises RPCError."""
    request = DescribeTaskQueueRequest(
        namespace=client.namespace,
        task_queue=TaskQueue(name=task_queue),
        task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
    )
    described = await client.workflow_service.describe_task_queue(request)
    return [poller.identity for poller in described.pollers]


_ORDER = "order-"


def workflow_id(order_id: str) -> str:
    """Under this name Temporal knows an order, and it lets no second one have it."""
    return f"{_ORDER}{order_id}"


def order_id_of(workflow_id: str) -> str:
    """Return the ID of the order that this workflow ID belongs to."""
    return workflow_id.removeprefix(_ORDER)


async def start_order(
    client: Client, order: Order, policy: Policy, approve: bool = False
) -> WorkflowHandle[OrderWorkflow, OrderResult]:
    """Start the life of an order; with `approve`, approve it in the same round trip (an
    Update-with-Start, which needs a worker to answer). Raises
    temporalio.exceptions.WorkflowAlreadyStartedError if there is one of its name, running or
    ended."""
    options: dict[str, Any] = {
        "args": [order, policy],
        "id": workflow_id(order.id),
        "task_queue": ORDER_QUEUE,
        "id_reuse_policy": WorkflowIDReusePolicy.REJECT_DUPLICATE,
        "id_conflict_policy": WorkflowIDConflictPolicy.FAIL,
        "static_summary": f"order {order.id}: {len(order.items)} items, {total(order.items)}",
    }
    if not approve:
        return await client.start_workflow(OrderWorkflow.run, **options)
    start = WithStartWorkflowOperation(OrderWorkflow.run, **options)
    try:
        await client.execute_update_with_start_workflow(
            OrderWorkflow.approve, start_workflow_operation=start
        )
    finally:  # it holds the error, too, and complains at exit if nobody asked for it
        handle = await start.workflow_handle()
    return handle
