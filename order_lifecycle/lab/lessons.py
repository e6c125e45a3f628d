"""Workers for the workflows that only a lesson needs: `order_lifecycle/lessons/`."""

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

# s. It takes one, nearly always; but it took more than ten in one of some hundred runs of notebook
# 10, and the server has a reason: a partition of a task queue whose questions bring nothing new
# five times in a row pauses before it asks again, each time twice as long (fetchUserData in
# service/matching/user_data_manager.go, server of August 2026).
IN_FORCE_TIMEOUT = 60.0


def start_lesson_worker(lesson: str, build: str | None = None) -> LabProcess:
    """Start the worker of the module `order_lifecycle.lessons.<lesson>` in a process of its own,
    and wait until it polls its task queue. With `build` it is that version of its deployment, and
    not just any worker. It ends when nothing refers to it any more, so give it a name. Raises
    LabError."""
    running_servers()
    environment = {"DATABASE_OWNER_URL": "", **({BUILD: build} if build else {})}
    worker = LabProcess(f"{lesson} worker", [f"order_lifecycle.lessons.{lesson}"], environment)
    wait_until_ready(worker)
    return worker


async def promote(client: Client, build: str) -> None:
    """From now on, new orders go to the workers of this build. An order that was begun with a
    build stays there. Raises LabError if the server does not hear of it in time."""
    await wait_until(lambda: _known(client, build), f"the server to hear of build {build}")
    request = SetWorkerDeploymentCurrentVersionRequest(
        namespace=client.namespace, deployment_name=DEPLOYMENT, build_id=build
    )
    promoted = client.workflow_service.set_worker_deployment_current_version(request)
    await watch(promoted, f"the server to promote build {build}")
    await wait_until(
        lambda: _in_force(client, build), f"build {build} to be the current one", IN_FORCE_TIMEOUT
    )


async def _known(client: Client, build: str) -> Any:
    """A worker asks for workflow tasks and for activity tasks, and the server hears of the two one
    after the other."""
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


async def _in_force(client: Client, build: str) -> Any:
    now = (await _describe(client)).worker_deployment_info
    done = (
        now.routing_config_update_state
        == RoutingConfigUpdateState.ROUTING_CONFIG_UPDATE_STATE_COMPLETED
    )
    return done and now.routing_config.current_deployment_version.build_id == build


async def builds(client: Client) -> pd.DataFrame:
    """The builds that the server has heard of, and what each is for."""
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
        return DescribeWorkerDeploymentResponse()  # none of its workers has been here yet
