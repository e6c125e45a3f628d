"""Start the workers of the lessons in `order_lifecycle/lessons/`, and promote their builds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from temporalio.api.deployment.v1 import WorkerDeploymentVersion
from temporalio.api.enums.v1 import (
    RoutingConfigUpdateState,
    TaskQueueType,
    WorkerDeploymentVersionStatus,
)
from temporalio.api.workflowservice.v1 import (
    DescribeWorkerDeploymentRequest,
    DescribeWorkerDeploymentResponse,
    DescribeWorkerDeploymentVersionRequest,
    SetWorkerDeploymentCurrentVersionRequest,
)
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from order_lifecycle.lab.process import LabProcess
from order_lifecycle.lab.servers import running_servers
from order_lifecycle.lab.waiting import wait_until, watch
from order_lifecycle.lessons.worker import BUILD, DEPLOYMENT
from order_lifecycle.workers.start import wait_until_ready

if TYPE_CHECKING:
    import pandas as pd

# Nearly always it takes a second, but in one of some hundred runs of notebook 10 it took more than
# ten. A partition of a task queue asks for news. After five answers without news it waits before it
# asks again, and each time twice as long (fetchUserData in service/matching/user_data_manager.go,
# server of August 2026).
PROMOTE_TIMEOUT = 60.0  # s


def start_lesson_worker(lesson: str, build: str | None = None) -> LabProcess:
    """Start the worker of a lesson in a process of its own, and wait until it polls its task queue.

    The worker ends when nothing refers to it any more, so give it a name.

    Args:
        lesson: The name of the module in `order_lifecycle.lessons`.
        build: The build of the worker's deployment, for worker versioning.

    Raises:
        LabError: If the worker does not start.
    """
    running_servers()
    environment = {"DATABASE_OWNER_URL": "", **({BUILD: build} if build else {})}
    worker = LabProcess(f"{lesson} worker", [f"order_lifecycle.lessons.{lesson}"], environment)
    wait_until_ready(worker)
    return worker


async def promote(client: Client, build: str) -> None:
    """Send new orders to the workers of this build. An order that has begun keeps its build.

    Raises:
        LabError: If the server does not learn of it in time.
    """
    await wait_until(lambda: _is_known(client, build), f"the server to hear of build {build}")
    request = SetWorkerDeploymentCurrentVersionRequest(
        namespace=client.namespace, deployment_name=DEPLOYMENT, build_id=build
    )
    promoted = client.workflow_service.set_worker_deployment_current_version(request)
    await watch(promoted, f"the server to promote build {build}")
    await wait_until(
        lambda: _is_current(client, build), f"build {build} to be the current one", PROMOTE_TIMEOUT
    )


async def _is_known(client: Client, build: str) -> Any:
    """Return True if the server knows the build's pollers for both kinds of tasks.

    A worker polls for workflow tasks and for activity tasks. The server learns of one first.
    """
    version = WorkerDeploymentVersion(deployment_name=DEPLOYMENT, build_id=build)
    request = DescribeWorkerDeploymentVersionRequest(
        namespace=client.namespace, deployment_version=version
    )
    try:
        heard = await client.workflow_service.describe_worker_deployment_version(request)
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        return False
    both = {TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW, TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY}
    return {queue.type for queue in heard.version_task_queues} >= both


async def _is_current(client: Client, build: str) -> Any:
    now = (await _describe(client)).worker_deployment_info
    done = (
        now.routing_config_update_state
        == RoutingConfigUpdateState.ROUTING_CONFIG_UPDATE_STATE_COMPLETED
    )
    return done and now.routing_config.current_deployment_version.build_id == build


async def builds(client: Client) -> pd.DataFrame:
    """Return the builds that the server knows, and the status of each, as a DataFrame."""
    import pandas as pd

    found = []
    for version in (await _describe(client)).worker_deployment_info.version_summaries:
        status = WorkerDeploymentVersionStatus.Name(version.status)
        status = status.removeprefix("WORKER_DEPLOYMENT_VERSION_STATUS_").lower()
        found.append([version.deployment_version.build_id, status])
    return pd.DataFrame(sorted(found), columns=["build", "status"])


async def _describe(client: Client) -> DescribeWorkerDeploymentResponse:
    request = DescribeWorkerDeploymentRequest(
        namespace=client.namespace, deployment_name=DEPLOYMENT
    )
    try:
        return await client.workflow_service.describe_worker_deployment(request)
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        return DescribeWorkerDeploymentResponse()  # no worker of this deployment has polled yet
