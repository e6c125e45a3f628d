"""A chaos run: customers send requests, workers and servers fail, and every order must end correctly."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from statistics import quantiles
from typing import Any, TypeVar

from temporalio.api.enums.v1 import EventType as Temporal
from temporalio.api.enums.v1 import WorkflowTaskFailedCause
from temporalio.client import (
    Client,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RetryConfig, RPCError, RPCStatusCode

from order_lifecycle.client import start_order
from order_lifecycle.db.audit import audit, count_by_state
from order_lifecycle.db.store import Store, connect
from order_lifecycle.domain import TERMINAL, OrderResult, total
from order_lifecycle.reconciliation import compare_with_temporal
from order_lifecycle.workflows.order import OrderWorkflow
from tests.chaos.plan import Blow, Customer, Move, Plan, Request
from tests.chaos.processes import Servers, Workers

T = TypeVar("T")
Tell = Callable[[str], object]

# Not an answer: nobody was there, or what was there could not say. Whoever asked has to ask again.
NO_ANSWER = {
    RPCStatusCode.UNAVAILABLE,
    RPCStatusCode.DEADLINE_EXCEEDED,
    RPCStatusCode.CANCELLED,
    RPCStatusCode.ABORTED,
    RPCStatusCode.INTERNAL,
    RPCStatusCode.UNKNOWN,
    RPCStatusCode.RESOURCE_EXHAUSTED,
}
# A workflow task that fails for these reasons is our fault. The other reasons belong to a life with servers that
# restart and signals that arrive in the last moment.
OUR_FAULT = {
    WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_WORKFLOW_WORKER_UNHANDLED_FAILURE,
    WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_NON_DETERMINISTIC_ERROR,
}
CALM_TIMEOUT = 90.0  # s from the last blow until every order has ended


@dataclass
class Seen:
    """The answers that a customer got."""

    customer: Customer
    started: bool = False
    seconds: float | None = None  # from the start to the end
    cancel: str | None = None  # how the request to cancel was answered; None: never asked
    cancelled: bool = False  # an Update said that it is cancelled
    moves: list[tuple[Move, str]] = field(default_factory=list)

    @property
    def id(self) -> str:
        return self.customer.order.id


@dataclass
class Outcome:
    """What happened, the counts, and the violations."""

    orders: list[Seen]
    blows: Counter[str]
    repeated_calls: int = 0
    states: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    steps: int = 0
    attempts: int = 0
    charged: Decimal = Decimal(0)
    refunded: Decimal = Decimal(0)
    outages: list[float] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)

    def as_text(self) -> str:
        def counts(counter: Counter[str]) -> str:
            return ", ".join(f"{n} {what}" for what, n in sorted(counter.items())) or "none"

        took = sorted(order.seconds for order in self.orders if order.seconds is not None)
        lines = [
            f"orders      {len(self.orders)}: {counts(self.states)}",
            f"blows       {counts(self.blows)}",
            f"outages     {sum(self.outages):.1f} s together, the longest {max(self.outages, default=0):.1f} s",
            f"customers   {counts(self.answers)}; {self.repeated_calls} calls repeated for want of an answer",
            f"attempts    {self.attempts} for {self.steps} steps that ended",
            f"money       {self.charged} charged and kept, {self.refunded} refunded",
        ]
        if len(took) > 1:
            cuts = quantiles(took, n=20)
            lines.append(f"seconds     half of the orders within {cuts[9]:.1f}, 95 of 100 within {cuts[18]:.1f}")
        lines.append(f"violations  {len(self.violations)}")
        return "\n".join([*lines, *(f"  {violation}" for violation in self.violations)])


async def chaos(plan: Plan, folder: Path, tell: Tell, workers: int = 2) -> Outcome:
    """Run the plan on servers with their files in `folder`, and check the result. `tell` gets each line of progress."""
    async with Servers(folder) as servers:
        run = _Run(plan, servers, Workers(servers, workers, plan.seed), tell)
        try:
            return await run.all_of_it()
        finally:
            run.workers.stop()


class _Run:
    def __init__(self, plan: Plan, servers: Servers, workers: Workers, tell: Tell) -> None:
        self.workers = workers
        self._plan = plan
        self._servers = servers
        self._tell = tell
        self._outcome = Outcome([Seen(customer) for customer in plan.customers], Counter())
        self._ended = 0

    async def all_of_it(self) -> Outcome:
        # Temporal's client would repeat calls by itself for ten seconds. This one gives up early, so that customers
        # have to: their calls then are new ones, which the server cannot tell from calls that somebody else makes.
        self._client = await Client.connect(
            self._servers.temporal_host,
            data_converter=pydantic_data_converter,
            retry_config=RetryConfig(max_retries=1),
        )
        self._began = time.monotonic()
        self._say("the servers are there, the workers are starting, the first order comes")
        async with self._watched(), asyncio.TaskGroup() as customers:
            for seen in self._outcome.orders:
                customers.create_task(self._live(seen))
            await asyncio.gather(*(self._strike(blow) for blow in self._plan.blows))
            self._say("no more blows: the orders go to their ends in peace")
        self._say("every customer has an answer: now the books")
        await self._judge()
        return self._outcome

    # --- what breaks -------------------------------------------------------------------------------------------------

    async def _strike(self, blow: Blow) -> None:
        await self._sleep_until(blow.at)
        if blow.target in ("PostgreSQL", "Temporal"):
            seconds = await self._servers.restart(blow.target, blow.how, blow.down)
            self._outcome.outages.append(seconds)
            self._outcome.blows[f"{blow.target} stopped ({blow.how}) and started"] += 1
            self._say(f"{blow.target} was stopped ({blow.how}) and is back after {seconds:.1f} s")
        else:
            pid = self.workers.kill(blow.target.removesuffix(" worker"), blow.number)
            self._outcome.blows[f"{blow.target}s killed ({blow.how})"] += 1
            self._say(f"killed: {blow.target} {blow.number}, process {pid}")

    @asynccontextmanager
    async def _watched(self) -> AsyncIterator[None]:
        """Meanwhile, notice workers that end by themselves, and show progress."""

        async def watch() -> None:
            told = time.monotonic()
            while True:
                self.workers.look()
                if time.monotonic() - told > 5:
                    told = time.monotonic()
                    self._say("…")
                await asyncio.sleep(0.2)  # between two looks

        watching = asyncio.create_task(watch())
        try:
            yield
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching

    # --- what customers do -------------------------------------------------------------------------------------------

    async def _live(self, seen: Seen) -> None:
        """Act as a customer, from the start of the order until its end is known."""
        await self._sleep_until(seen.customer.begin)
        try:
            async with asyncio.timeout(self._plan.seconds - seen.customer.begin + CALM_TIMEOUT):
                began = time.monotonic()
                handle = await self._start(seen)
                await asyncio.gather(
                    self._approve(handle, seen.customer.approve), self._cancel(handle, seen), self._move(handle, seen)
                )
                await self._end_of(handle)
                seen.seconds = time.monotonic() - began
                self._ended += 1
        except TimeoutError:
            self._wrong(f"order {seen.id} did not end")
        except Exception as error:
            self._wrong(f"order {seen.id}: its customer got an answer that makes no sense: {error!r}")

    async def _start(self, seen: Seen) -> WorkflowHandle[Any, OrderResult]:
        """Start the order under its own ID, so that a start whose answer was lost can be repeated."""
        with suppress(WorkflowAlreadyStartedError):
            await self._ask(lambda: start_order(self._client, seen.customer.order, seen.customer.policy))
        seen.started = True
        return self._client.get_workflow_handle(f"order-{seen.id}", result_type=OrderResult)

    async def _approve(self, handle: WorkflowHandle[Any, Any], request: Request) -> None:
        await asyncio.sleep(request.after)
        if request.way == "signal":
            answer = await self._request(lambda: handle.signal(OrderWorkflow.approve_order))
        else:
            answer = await self._request(lambda: handle.execute_update(OrderWorkflow.approve, id="approve"))
        self._count("approve", request, answer)

    async def _cancel(self, handle: WorkflowHandle[Any, Any], seen: Seen) -> None:
        request = seen.customer.cancel
        if request is None:
            return
        await asyncio.sleep(request.after)
        if request.way == "signal":
            seen.cancel = await self._request(lambda: handle.signal(OrderWorkflow.cancel_order, "by signal"))
        elif request.way == "update":
            # An Update has an id too: the same one twice is one Update, with one answer.
            update = OrderWorkflow.cancel
            seen.cancel = await self._request(lambda: handle.execute_update(update, "by update", id="cancel"))
            seen.cancelled = seen.cancel == "done"
        else:
            seen.cancel = await self._request(handle.cancel)
        self._count("cancel", request, seen.cancel)

    async def _move(self, handle: WorkflowHandle[Any, Any], seen: Seen) -> None:
        """Send one new address after the other, each after the answer to the one before."""
        began = time.monotonic()
        for number, move in enumerate(seen.customer.moves):
            await asyncio.sleep(max(0.0, began + move.after - time.monotonic()))
            answer = await self._request(self._mover(handle, number, move))
            seen.moves.append((move, answer))
            self._count("move", move, answer)

    @staticmethod
    def _mover(handle: WorkflowHandle[Any, Any], number: int, move: Move) -> Callable[[], Awaitable[object]]:
        if move.way == "signal":
            return lambda: handle.signal(OrderWorkflow.update_address, move.to)
        return lambda: handle.execute_update(OrderWorkflow.change_address, move.to, id=f"move-{number}")

    async def _end_of(self, handle: WorkflowHandle[Any, OrderResult]) -> None:
        with suppress(WorkflowFailureError):  # cancelled or failed: the books will say which
            await self._ask(handle.result)

    async def _request(self, call: Callable[[], Awaitable[object]]) -> str:
        """Return "done", "refused", or "too late" because the order has ended."""
        try:
            await self._ask(call)
        except WorkflowUpdateFailedError:
            return "refused"
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND or "workflow" not in error.message:
                raise
            return "too late"
        return "done"

    async def _ask(self, call: Callable[[], Awaitable[T]]) -> T:
        """Repeat a call until it has an answer.

        Every call here can be repeated: a start and an Update have IDs, and a signal that arrives twice has the same
        effect as one.
        """
        while True:
            try:
                return await call()
            except WorkflowUpdateRPCTimeoutOrCancelledError:
                pass
            except RPCError as error:
                if error.status not in NO_ANSWER:
                    raise
            self._outcome.repeated_calls += 1
            await asyncio.sleep(0.2)  # between two tries

    def _count(self, what: str, request: Request, answer: str) -> None:
        self._outcome.answers[f"{what} by {request.way} {answer}"] += 1

    # --- what must be true in the end --------------------------------------------------------------------------------

    async def _judge(self) -> None:
        for why in self.workers.ended_by_themselves:
            self._wrong(why)
        engine = connect(self._servers.database_url)
        try:
            for violation in audit(engine):
                self._wrong(str(violation))
            for violation in await compare_with_temporal(self._client, Store(engine).order_states):
                self._wrong(str(violation))
            self._outcome.states.update(count_by_state(engine))
            self._compare_with_customers(Store(engine))
        finally:
            engine.dispose()
        await self._nothing_runs()
        few = asyncio.Semaphore(10)
        await asyncio.gather(*(self._look_at_history(f"order-{seen.id}", few) for seen in self._outcome.orders))

    def _compare_with_customers(self, store: Store) -> None:
        """Compare the answers that each customer got with the database."""
        rows = {row["id"]: row for row in store.rows("orders")}
        payments: dict[str, list[dict[str, Any]]] = {}
        events: dict[str, list[dict[str, Any]]] = {}
        for table, by_order in (("payments", payments), ("events", events)):
            for row in store.rows(table):
                by_order.setdefault(row["order_id"], []).append(row)
        for seen in self._outcome.orders:
            if seen.started and seen.id not in rows:
                self._wrong(f"order {seen.id} is lost: its start was acknowledged, and there is no such order")
            elif seen.started:
                self._judge_one(seen, rows[seen.id], payments.get(seen.id, []), events.get(seen.id, []))
        if strangers := rows.keys() - {seen.id for seen in self._outcome.orders}:
            self._wrong(f"nobody ordered {', '.join(strangers)}")

    def _judge_one(
        self, seen: Seen, row: dict[str, Any], payments: list[dict[str, Any]], events: list[dict[str, Any]]
    ) -> None:
        def must(true: bool, what: str) -> None:
            if not true:
                self._wrong(f"order {seen.id}, {row['state']}: {what}")

        state, happened = row["state"], Counter(event["type"] for event in events)
        must(state in TERMINAL, "it has not ended")
        must(happened["payment_charged"] <= 1, f"charged {happened['payment_charged']} times")
        must(len(payments) == happened["payment_charged"], f"{len(payments)} payments, {happened} events")
        for payment in payments:
            due = total(seen.customer.order.items)
            must(payment["amount"] == due, f"charged {payment['amount']} for {due}")
            must(payment["payment_id"] == seen.customer.order.payment_id, "the payment is somebody else's")
            must(payment["status"] == ("charged" if state == "shipped" else "refunded"), f"its money is {payment}")
            if payment["status"] == "charged":
                self._outcome.charged += payment["amount"]
            else:
                self._outcome.refunded += payment["amount"]
        must(state == "shipped" or happened["order_shipped"] == 0, "shipped all the same")
        if seen.customer.patient:
            must(state != "failed", "it had all the time it wanted, and failed")
        if seen.cancel is None:
            must(state != "cancelled", "nobody asked to cancel it")
        if seen.cancelled:
            must(state == "cancelled", "its customer was told that it is cancelled")
        late = happened["late_signal"]
        # (Temporal's own cancellation leaves no trace where it meets the end of the last step.)
        asked = seen.customer.cancel
        if asked and asked.way != "temporal" and seen.cancel == "done":
            must(state == "cancelled" or late > 0, "a request to cancel has left no trace")
        written = [event["payload_json"] for event in events if event["type"] == "address_changed"]
        for move, answer in seen.moves:
            recorded = move.to.model_dump() in written
            if move.way == "update" and answer in ("done", "refused"):
                must(recorded == (answer == "done"), f"a new address was {answer}, and recorded: {recorded}")
            elif answer == "done":
                must(recorded or late > 0, "a new address has left no trace")
        if written:
            must(row["address_json"] == written[-1], "its address is not the last one that it was given")

    async def _nothing_runs(self) -> None:
        """Check that no order runs, and no child that an order left behind."""
        still: list[str] = []
        with suppress(TimeoutError):
            async with asyncio.timeout(10):
                while True:
                    running = self._client.list_workflows("ExecutionStatus = 'Running'")
                    if not (still := [workflow.id async for workflow in running]):
                        return
                    await asyncio.sleep(0.2)  # what lists workflows lags a little behind
        self._wrong(f"still running: {', '.join(still)}")

    async def _look_at_history(self, workflow_id: str, few: asyncio.Semaphore) -> None:
        """Count the attempts of an order and its children, and check that our code failed no workflow task."""
        children = []
        async with few:
            try:
                history = await self._client.get_workflow_handle(workflow_id).fetch_history()
            except RPCError as error:
                self._wrong(f"workflow {workflow_id} is lost: {error.message}")
                return
        for event in history.events:
            if event.event_type == Temporal.EVENT_TYPE_ACTIVITY_TASK_STARTED:
                self._outcome.steps += 1
                self._outcome.attempts += event.activity_task_started_event_attributes.attempt
            elif event.event_type == Temporal.EVENT_TYPE_WORKFLOW_TASK_FAILED:
                failed = event.workflow_task_failed_event_attributes
                if failed.cause in OUR_FAULT:
                    self._wrong(f"workflow {workflow_id}: a workflow task failed: {failed.failure.message}")
            elif event.event_type == Temporal.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_STARTED:
                children.append(event.child_workflow_execution_started_event_attributes.workflow_execution.workflow_id)
        await asyncio.gather(*(self._look_at_history(child, few) for child in children))

    # --- the small print ---------------------------------------------------------------------------------------------

    async def _sleep_until(self, moment: float) -> None:
        """Sleep until that second of the run, as the plan says."""
        await asyncio.sleep(max(0.0, self._began + moment - time.monotonic()))

    def _wrong(self, what: str) -> None:
        self._outcome.violations.append(what)
        self._say(f"VIOLATION: {what}")

    def _say(self, what: str) -> None:
        orders = self._outcome.orders
        started = sum(seen.started for seen in orders)
        seconds = time.monotonic() - self._began
        self._tell(f"{seconds:6.1f} s  {started:4} of {len(orders)} started, {self._ended:4} ended  {what}")
