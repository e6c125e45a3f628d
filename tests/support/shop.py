"""A shop for the workflows' tests: the real workflows and activities, and an outside world that the test controls."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from datetime import timedelta
from typing import Any

from sqlalchemy import NullPool, create_engine, insert, text
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowHandle
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Replayer, Worker, WorkflowRunner
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from order_lifecycle.activities.order import OrderActivities
from order_lifecycle.activities.shipping import ShippingActivities
from order_lifecycle.client import connect as connect_to_temporal
from order_lifecycle.client import start_order
from order_lifecycle.db.audit import audit
from order_lifecycle.db.models import EventRow
from order_lifecycle.db.store import Store, connect
from order_lifecycle.domain import OrderResult, OrderStatus, Policy, RefusedError
from order_lifecycle.faults import Faults, OutsideError
from order_lifecycle.settings import Settings
from order_lifecycle.workers.base import activity_methods
from order_lifecycle.workflows.order import ORDER_QUEUE, OrderWorkflow
from order_lifecycle.workflows.shipping import SHIPPING_QUEUE, ShippingWorkflow
from tests.support.orders import an_order
from tests.support.waiting import until

Handle = WorkflowHandle[OrderWorkflow, OrderResult]

HAPPY_PATH = [
    "order_received",
    "order_validated",
    "review_requested",
    "order_approved",
    "payment_charged",
    "package_prepared",
    "carrier_dispatched",
    "order_shipped",
]
ENDS = {"order_shipped": "shipped", "order_cancelled": "cancelled", "order_failed": "failed"}


class Outside(Faults):
    """The outside world. The test can hold a call, which then hangs, or make a number of calls fail or be refused."""

    def __init__(self, **faults: Any) -> None:
        super().__init__(**faults)
        self.errors: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self._calls: Counter[str] = Counter()
        self._held: dict[str, tuple[int, threading.Event, threading.Event]] = {}

    def hold(self, step: str, number: int = 1) -> None:
        """Let the `number`-th call of that step hang."""
        self._held[step] = number, threading.Event(), threading.Event()

    def hold_next(self, step: str) -> None:
        self.hold(step, self._calls[step] + 1)

    def hanging(self) -> list[str]:
        """Return the steps that hang now."""
        return [step for step, (_, reached, go_on) in self._held.items() if reached.is_set() and not go_on.is_set()]

    def reached(self, step: str) -> bool:
        return self._held[step][1].is_set()

    def let_go(self, *steps: str) -> None:
        """Release these steps, or all of them if none is named."""
        for step in steps or self._held:
            self._held[step][2].set()

    def call(self, workflow_id: str, step: str, *rest: Any) -> None:
        self._calls[step] += 1
        if step in self._held:
            number, reached, go_on = self._held[step]
            if number == self._calls[step]:
                reached.set()
                assert go_on.wait(30)
        for outcome, error in ((self.errors, OutsideError), (self.refusals, RefusedError)):
            if outcome[step] > 0:
                outcome[step] -= 1
                raise error(f"{step} failed")
        super().call(workflow_id, step, *rest)


class Shop:
    """The servers, workers, database and orders of one test."""

    policy = Policy(attempt_timeout=Policy().budget)  # so that a step that is held is not tried again

    def __init__(
        self, env: WorkflowEnvironment, store: Store, cache: int = 1000, runner: WorkflowRunner | None = None
    ) -> None:
        self.env = env
        self.client: Client = env.client
        self.store = store
        self.outside = Outside()
        self.order_activities = OrderActivities
        self.threads = ThreadPoolExecutor(20)
        self.started: list[Handle] = []
        self._cache = cache
        self._runner = runner or SandboxedWorkflowRunner()
        self.remembers_nothing = cache == 0

    @asynccontextmanager
    async def working(self, *kinds: str) -> AsyncIterator[None]:
        """Run these workers: "order" and "shipping", or one half of a worker, such as "order workflows"."""
        halves: dict[str, tuple[str, list[type], type[OrderActivities] | type[ShippingActivities] | None]] = {
            "order workflows": (ORDER_QUEUE, [OrderWorkflow], None),
            "order activities": (ORDER_QUEUE, [], self.order_activities),
            "order": (ORDER_QUEUE, [OrderWorkflow], self.order_activities),
            "shipping": (SHIPPING_QUEUE, [ShippingWorkflow], ShippingActivities),
        }
        async with AsyncExitStack() as stack:
            for kind in kinds:
                queue, workflows, activities = halves[kind]
                worker = Worker(
                    self.client,
                    task_queue=queue,
                    workflows=workflows,
                    activities=activity_methods(activities(self.store, self.outside)) if activities else [],
                    activity_executor=self.threads,
                    disable_payload_error_limit=True,  # as workers/base.py has it
                    graceful_shutdown_timeout=timedelta(seconds=10),  # what has begun ends, also what was abandoned
                    max_cached_workflows=self._cache,
                    workflow_runner=self._runner,
                )
                await stack.enter_async_context(worker)
            yield
            if kinds != ("order workflows",):
                self.outside.let_go()

    async def start(self, order_id: str = "abc-001", policy: Policy | None = None, **changes: Any) -> Handle:
        handle = await start_order(self.client, an_order(order_id, **changes), policy or self.policy)
        self.started.append(handle)
        return handle

    async def start_until(self, wait: str, order_id: str = "abc-001") -> Handle:
        """Return an order that waits in that step of its story."""
        if wait != "review":
            self.outside.hold(wait)
        order = await self.start(order_id)
        if wait == "review":
            await self.until_event(order_id, "review_requested")
            await until(lambda: self.status(order), lambda status: status.waiting_for == "approve_order")
            return order
        if wait != "receive_order":
            await order.signal(OrderWorkflow.approve_order)
        await until(lambda: self.outside.reached(wait))
        return order

    async def status(self, order: Handle) -> OrderStatus:
        """Query the order's status while no worker has a task of it.

        If two tasks come at once, a worker without a cache drops one ("There were leftover buffered tasks when evicting
        run"). The query would then get no answer. The server repeats a dropped workflow task after 10 s.
        """
        await until(lambda: self.nobody_is_at(order))
        return await order.query(OrderWorkflow.status)

    async def nobody_is_at(self, order: Handle) -> bool:
        at_work = (EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED, EventType.EVENT_TYPE_WORKFLOW_TASK_STARTED)
        return await self._last_of_its_tasks(order) not in (None, *at_work)

    async def task_waits(self, order: Handle) -> bool:
        """Return True if the order has a task that no worker has."""
        return await self._last_of_its_tasks(order) == EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED

    async def _last_of_its_tasks(self, order: Handle) -> EventType.ValueType | None:
        kinds = [event.event_type for event in (await order.fetch_history()).events]
        return next((kind for kind in reversed(kinds) if "WORKFLOW_TASK" in EventType.Name(kind)), None)

    def events(self, order_id: str = "abc-001") -> list[str]:
        return [row["type"] for row in self.store.rows("events", order_id)]

    def told(self, event: str, order_id: str = "abc-001") -> list[Any]:
        """Return the payloads of all events of that type."""
        return [row["payload_json"] for row in self.store.rows("events", order_id) if row["type"] == event]

    def payments(self, order_id: str = "abc-001") -> list[tuple[str, str]]:
        return [(row["status"], str(row["amount"])) for row in self.store.rows("payments", order_id)]

    def row(self, order_id: str = "abc-001") -> dict[str, Any]:
        (row,) = self.store.rows("orders", order_id)
        return row

    @contextmanager
    def place_taken(self, step: str, order_id: str = "abc-001") -> Iterator[None]:
        """Hold the place of that event in another transaction meanwhile, so that its writer waits.

        `late_signal#2` is the event `late_signal` with the second key that the order's run makes.
        """
        if "#" in step:
            event, _, number = step.partition("#")
            (run_id,) = {order.first_execution_run_id for order in self.started if order.id == f"order-{order_id}"}
            step = f"{event}#{run_id}/{number}"
        with create_engine(self.store.engine.url, poolclass=NullPool).connect() as somebody_else:
            taken = {"order_id": order_id, "type": step.split("#")[0], "step": step, "payload_json": {}}
            somebody_else.execute(insert(EventRow).values(**taken))
            yield
            somebody_else.rollback()

    def somebody_waits(self) -> bool:
        """Return True if a statement waits for a lock of another transaction."""
        with self.store.engine.connect() as tx:
            waiting = (
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
            return bool(tx.scalar(text(waiting)))

    async def until_event(self, order_id: str, event: str) -> None:
        await until(lambda: event in self.events(order_id))


@asynccontextmanager
async def open_shop_on_dev_server(settings: Settings, database_url: str, cache: int = 1000) -> AsyncIterator[Shop]:
    """Open a shop on the real server, which has its real limits and does not skip time."""
    env = WorkflowEnvironment.from_client(await connect_to_temporal(settings))
    async with open_shop(env, database_url, cache) as shop:
        yield shop


@asynccontextmanager
async def open_shop(env: WorkflowEnvironment, database_url: str, cache: int = 1000) -> AsyncIterator[Shop]:
    """Open a shop for one test. After it, audit every order and replay every history.

    `cache`: how many workflows its workers keep in memory (the SDK's default is 1000).
    """
    engine = connect(database_url, pool_size=20)
    shop = Shop(env, Store(engine), cache)
    try:
        yield shop
    finally:
        shop.outside.let_go()
        shop.threads.shutdown()
    assert audit(engine) == []
    await assert_temporal_agrees(shop)
    await replay_everything(shop)
    engine.dispose()


async def assert_temporal_agrees(shop: Shop) -> None:
    """Check that a closed workflow and the order's row have the same end."""
    ends = {"COMPLETED": {"shipped", "cancelled"}, "CANCELED": {"cancelled"}, "FAILED": {"failed"}}
    for handle in shop.started:
        order_id = handle.id.removeprefix("order-")
        status = (await handle.describe()).status
        if any(
            received["run_id"] == handle.first_execution_run_id for received in shop.told("order_received", order_id)
        ):
            assert status is not None
            if status.name in ends:
                assert shop.row(order_id)["state"] in ends[status.name]
            else:
                assert shop.row(order_id)["state"] not in ENDS.values()


async def replay_everything(shop: Shop) -> None:
    """Replay every history, ended or not, as a worker with an empty cache would."""
    # debug_mode: without the SDK's limit of 2 s a task, which a flood passes where other tests run beside it.
    replayer = Replayer(
        workflows=[OrderWorkflow, ShippingWorkflow], data_converter=pydantic_data_converter, debug_mode=True
    )
    for handle in shop.started:
        history = await handle.fetch_history()
        await replayer.replay_workflow(history)
        for event in history.events:
            if event.HasField("child_workflow_execution_started_event_attributes"):
                child = event.child_workflow_execution_started_event_attributes.workflow_execution.workflow_id
                await replayer.replay_workflow(await shop.client.get_workflow_handle(child).fetch_history())
