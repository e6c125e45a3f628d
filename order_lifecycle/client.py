"""Connect to Temporal, and start orders there."""

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
from order_lifecycle.workflows.order import ORDER_QUEUE, OrderWorkflow
from order_lifecycle.workflows.progress import ORDER_STATE, ORDER_TOTAL

# You can list orders by these.
SEARCH_ATTRIBUTES: tuple[SearchAttributeKey[Any], ...] = (ORDER_STATE, ORDER_TOTAL)

_NOT_ALLOWED = (RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.UNIMPLEMENTED)


_WORKS_FOR = " for "


def worker_identity(database_url: str) -> str:
    """Return the identity of a worker, which the list of a task queue's pollers shows.

    It is the process ID and the machine, as in the SDK's own identity, and the worker's database.
    """
    return f"{os.getpid()}@{socket.gethostname()}{_WORKS_FOR}{database_name(database_url)}"


def database_of_worker(identity: str) -> str | None:
    """Return the `database_name` in a worker's identity, or None if it names none."""
    return identity.partition(_WORKS_FOR)[2] or None


async def connect(settings: Settings | None = None, identity: str | None = None) -> Client:
    """Connect to the Temporal server of `settings`.

    TLS, an API key and all else that a company's cluster or Temporal Cloud needs come from
    Temporal's own variables (TEMPORAL_TLS…, TEMPORAL_API_KEY:
    https://docs.temporal.io/develop/environment-configuration).

    Raises:
        NoServerError: No server is named, or none answers within 10 s.
        BadInputError: A setting is not valid.
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
        raise _bad_temporal_settings(error) from None
    except (RuntimeError, TimeoutError) as error:
        raise NoServerError(
            f"no Temporal server answers at {settings.temporal_host} ({str(error) or 'timeout'}). "
            "Is it running? `order-lifecycle doctor` checks all parts"
        ) from None


def namespace(settings: Settings) -> str:
    """Return the namespace that `connect` uses.

    Raises:
        BadInputError: A setting is not valid.
    """
    settings = settings.resolved()
    return _options(settings, settings.temporal_host or "")["namespace"]


def _options(settings: Settings, host: str) -> ClientConnectConfig:
    """Return the arguments of Client.connect.

    They come from Temporal's own variables and file. A server that this project has started needs
    none of these, because it has no encryption and no API keys.

    Raises:
        BadInputError: A setting is not valid.
    """
    options = ClientConnectConfig()
    if not settings.temporal_is_ours:
        variables = {
            name: value for name, value in os.environ.items() if name.startswith("TEMPORAL_")
        }
        for name, value in variables.items():
            _check(name, value)
        try:
            # Pass only Temporal's variables: if any variable that it gets is not UTF-8, the SDK
            # ends this process and prints the value.
            options = ClientConfig.load_client_connect_config(override_env_vars=variables)
        except (RuntimeError, OSError) as error:
            raise _bad_temporal_settings(error) from None
        _check("the api_key in temporal.toml", options.get("api_key") or "")
    options["target_host"] = host
    if "temporal_namespace" in settings.model_fields_set or not options.get("namespace"):
        options["namespace"] = settings.temporal_namespace
    return options


# The values of these are sent as headers. A server accepts headers of at most 16 KiB.
_SENT_AS_A_HEADER = re.compile("TEMPORAL_API_KEY|TEMPORAL_GRPC_META_.*|.*api_key.*")
_LONGEST_HEADER = 8192


def _check(name: str, value: str) -> None:
    """Check a variable that the SDK will read.

    Raises:
        BadInputError: The SDK cannot use the value, or would print it in its own error. This error
            names the variable, but does not show the value, which may be a secret.
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
            f"{name}: it has {len(value)} characters, and at most {_LONGEST_HEADER} are accepted. "
            "Is it the content of another file?"
        )


def _bad_temporal_settings(error: Exception) -> BadInputError:
    return BadInputError(
        "Temporal's own settings (the variables TEMPORAL_…, and the file temporal.toml) "
        f"cannot be used: {' '.join(str(error).split())}"
    )


async def wait_and_connect(say: Callable[[str], None], stop: asyncio.Event) -> Client | None:
    """Wait until Temporal, its namespace and the database are ready, then connect to Temporal.

    It calls `say` with what is missing, once for each new reason. It returns None if `stop` is set
    first.

    Raises:
        BadInputError: A setting is not valid.
    """
    said = ""
    while not stop.is_set():
        try:
            settings = Settings().resolved()
            if settings.database_url is None:
                raise NoServerError(no_database(settings.order_lifecycle_home))
            database_url = settings.database_url.get_secret_value()
            if why := await asyncio.to_thread(why_unusable, database_url):
                raise NoServerError(why)
            client = await connect(identity=worker_identity(database_url))
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
    """Add the search attributes OrderState and OrderTotal to the namespace. It is safe to repeat.

    Without them, the server refuses the first step of every order. Some servers, such as Temporal
    Cloud, do not let a worker add them. If they are missing there, log a warning with the commands
    that add them.

    Raises:
        temporalio.service.RPCError: The server does not answer, or does not know the namespace.
    """
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
            return  # this client may not list workflows either, so nothing more is known
        if missing:
            logging.getLogger(__name__).warning(
                "every order will hang in its first step: the namespace has no search attribute "
                "%s, and this worker has no permission to add it. An administrator should run %s",
                " and no ".join(missing),
                search_attribute_commands(missing, client.namespace),
            )


async def missing_search_attributes(client: Client) -> list[str]:
    """Return the search attributes that orders need and that the namespace does not have.

    Raises:
        temporalio.service.RPCError: The server does not answer, or this client may not ask.
    """
    missing = []
    for key in SEARCH_ATTRIBUTES:
        try:
            await client.count_workflows(f"{key.name} IS NULL")
        except RPCError as error:
            if error.status is not RPCStatusCode.INVALID_ARGUMENT:
                raise
            missing.append(key.name)
    return missing


def search_attribute_commands(missing: Sequence[str], namespace: str) -> str:
    """Return the commands that add these search attributes."""
    commands = " and ".join(
        f"`temporal operator search-attribute create --namespace {namespace} "
        f"--name {key.name} --type {key.indexed_value_type.name.title()}`"
        for key in SEARCH_ATTRIBUTES
        if key.name in missing
    )
    return f"{commands} (on Temporal Cloud, add them with tcld)"


async def pollers(client: Client, task_queue: str) -> list[str]:
    """Return the identity of each worker that polled this task queue in recent minutes.

    Raises:
        temporalio.service.RPCError: The server does not answer, or this client may not ask.
    """
    request = DescribeTaskQueueRequest(
        namespace=client.namespace,
        task_queue=TaskQueue(name=task_queue),
        task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
    )
    described = await client.workflow_service.describe_task_queue(request)
    return [poller.identity for poller in described.pollers]


_ORDER = "order-"


def workflow_id(order_id: str) -> str:
    """Return the workflow ID of an order. Temporal accepts it only once."""
    return f"{_ORDER}{order_id}"


def order_id_of(workflow_id: str) -> str:
    """Return the ID of the order that this workflow ID belongs to."""
    return workflow_id.removeprefix(_ORDER)


async def start_order(
    client: Client, order: Order, policy: Policy, approve: bool = False
) -> WorkflowHandle[OrderWorkflow, OrderResult]:
    """Start the workflow of an order.

    With `approve`, also approve the order, in the same request: an Update-with-Start. This call
    then waits for a worker, because a worker must answer the Update.

    Raises:
        temporalio.exceptions.WorkflowAlreadyStartedError: The order exists already, running or
            ended.
    """
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
    finally:  # this future also has the error: asyncio logs it at exit unless it is awaited
        handle = await start.workflow_handle()
    return handle
