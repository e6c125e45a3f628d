"""A state machine draws sequences of events that nobody thought of, and each order must end correctly.

The machine only writes a plan. The plan has approvals, cancels and changes of address, as signals and as Updates, one
after the other or at once. It has malformed signals, and steps that fail, are refused, hang and are released. Seconds
and days of Temporal's time pass. Then a real order on the time-skipping server follows the plan.

The checks at the end hold for each outcome of a race: the audit finds nothing, Temporal and the database agree, every
history replays, and each answer of the order was true.

The normal run has the same examples each time. To run more of them, with a seed that is printed and can be repeated:

    ORDER_EXAMPLES=1000 pytest -n 0 -s tests/workflows/test_any_order_after_approval.py
    ORDER_EXAMPLES=1000 ORDER_SEED=12345 pytest -n 0 -s tests/workflows/test_any_order_after_approval.py

A failure prints the shortest plan that causes it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import sysconfig
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import hypothesis
from hypothesis import HealthCheck, Phase, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, get_state_machine_test, initialize, rule
from temporalio.api.testservice.v1 import UnlockTimeSkippingRequest
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.client import (
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHistory,
    WorkflowUpdateFailedError,
)
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.service import RPCError, RPCStatusCode
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner

from order_lifecycle.client import register_search_attributes
from order_lifecycle.db.audit import audit
from order_lifecycle.db.store import Store, connect
from order_lifecycle.domain import Address, OrderState, Policy
from order_lifecycle.workflows.order import OrderWorkflow
from order_lifecycle.workflows.shipping import ShippingWorkflow
from tests.support.shop import ENDS, Handle, Outside, Shop, assert_temporal_agrees
from tests.support.waiting import until

TEST_SERVER = Path(sysconfig.get_path("scripts"), "temporal-test-server")
# The sandbox only forbids, and the other tests have it. Here it would take most of the time.
QUICKLY = UnsandboxedWorkflowRunner()

STEPS = ("receive_order", "validate_order", "charge_payment", "prepare_package", "dispatch_carrier", "ship_order")
REVIEW_TIMEOUT = timedelta(days=3)
SHIPPING = ("prepare_package", "dispatch_carrier")
FOR_EVER = 1_000_000  # failures of a step
SETTLE_WITHIN = 30.0  # s; a hundred times what it needs


# --- the town: a server and workers that serve one order after the other ----------------------------------------------


class OutsideOfEach(Outside):
    """A separate outside world for each order, so that a hanging step of one does not disturb the next."""

    def __init__(self) -> None:
        super().__init__()
        self.of: defaultdict[str, Outside] = defaultdict(Outside)

    def call(self, workflow_id: str, step: str, *rest: Any) -> None:
        self.of[workflow_id.split("-")[1]].call(workflow_id, step, *rest)

    def let_go(self, *steps: str) -> None:
        for outside in self.of.values():
            outside.let_go(*steps)


class Town:
    """A time-skipping Temporal with both workers, and one database.

    The test server differs from the real one in three ways:

    - It loses a workflow task that asks to cancel an activity which has just ended. So no activity ends while an order
      is being cancelled.
    - It does not record which signals came before an Update if a workflow gets both at once, and the replay then
      differs. So an order is idle when it gets an Update.
    - It does not skip time while an activity runs, and never again if that activity's workflow ends first. So the test
      reports the end of each such activity. If that does not help, it starts a new server.

    tests/chaos does to the real server what these tests leave out.
    """

    def __init__(self, database_url: str, cache: int) -> None:
        self.engine = connect(database_url, pool_size=20)
        self.store = Store(self.engine)
        self.orders = 0
        self._cache = cache
        self.servers = 0
        self.histories: list[WorkflowHistory] = []
        self._loop = asyncio.new_event_loop()
        self._server: AsyncExitStack | None = None
        self.shop: Shop
        # What fails here is meant to, and to write it down takes a fifth of the time.
        logging.getLogger("temporalio").setLevel(logging.CRITICAL)

    def run(self, what: Coroutine[Any, Any, None]) -> None:
        self._loop.run_until_complete(asyncio.wait_for(what, 120))

    async def open(self) -> None:
        if self._server is None:
            self._server = AsyncExitStack()
            env = await self._server.enter_async_context(
                await WorkflowEnvironment.start_time_skipping(
                    test_server_existing_path=str(TEST_SERVER),
                    data_converter=pydantic_data_converter,
                )
            )
            await register_search_attributes(env.client)
            self.shop = Shop(env, self.store, self._cache, QUICKLY)
            self.shop.outside = OutsideOfEach()
            self._server.callback(self.shop.threads.shutdown)
            await self._server.enter_async_context(self.shop.working("order", "shipping"))
            self.servers += 1

    async def close(self) -> None:
        if self._server is not None:
            server, self._server = self._server, None
            await server.aclose()

    async def skips_time(self, abandoned: int) -> bool:
        """Return True if the server skips time again. `abandoned`: ended activities that it counts as running."""
        try:
            for _ in range(abandoned):
                await self.shop.client.test_service.unlock_time_skipping(UnlockTimeSkippingRequest())
            await asyncio.wait_for(self.shop.env.sleep(timedelta(seconds=30)), 1)
        except (TimeoutError, RPCError):
            return False
        return True

    async def replay(self) -> None:
        """Replay all orders at once, which takes a fifth of the time of shop.replay_everything."""

        async def histories() -> AsyncIterator[WorkflowHistory]:
            for history in self.histories:
                yield history

        replayer = Replayer(
            workflows=[OrderWorkflow, ShippingWorkflow], data_converter=pydantic_data_converter, workflow_runner=QUICKLY
        )
        failures = (await replayer.replay_workflows(histories(), raise_on_replay_failure=False)).replay_failures
        by_run = {history.run_id: history.workflow_id for history in self.histories}
        assert {by_run[run]: failure for run, failure in failures.items()} == {}

    def end(self) -> None:
        self.run(self.close())
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()
        self.engine.dispose()
        logging.getLogger("temporalio").setLevel(logging.NOTSET)


# --- a plan, and how it is carried out --------------------------------------------------------------------------------

SIGNALS = {"approve": "approve_order", "cancel": "cancel_order", "address": "update_address"}
UPDATES = {"approve": "approve", "cancel": "cancel", "address": "change_address"}


def an_address(name: str) -> Address:
    return Address(address=name, city="Temp", state="AL", zipcode="43561")


@dataclass(eq=False)
class Asked:
    """A request to the order, and its answer: delivered, accepted, refused or ended."""

    what: str
    how: str  # signal, update, temporal
    words: str
    answer: str = ""

    async def of(self, order: Handle) -> None:
        arguments: list[Any] = []
        if self.what != "approve":
            arguments = [self.words if self.what == "cancel" else an_address(self.words)]
        try:
            if self.how == "temporal":
                await order.cancel()  # which the server takes for granted of what has ended
                if (await order.describe()).close_time is not None and not await was_told(order):
                    self.answer = "ended"
                    return
            elif self.how == "signal":
                await order.signal(SIGNALS[self.what], args=arguments)
            else:
                await order.execute_update(UPDATES[self.what], args=arguments)
            self.answer = "accepted" if self.how == "update" else "delivered"
        except WorkflowUpdateFailedError:
            self.answer = "refused"
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            self.answer = "ended"


async def was_told(order: Handle) -> bool:
    """Return True if the order was told of Temporal's own cancellation."""
    return any(
        event.HasField("workflow_execution_cancel_requested_event_attributes")
        for event in (await order.fetch_history()).events
    )


class Life:
    """One order, the events that happen to it, and the checks that must then hold."""

    def __init__(self, town: Town, patient: bool) -> None:
        """Start with a budget of five minutes, or of ten for a `patient` order."""
        self.town = town
        self.patient = patient
        town.orders += 1
        self.id = f"x{town.orders}"
        self.asked: list[Asked] = []
        self.answers: list[asyncio.Task[None]] = []
        self.refused = self.broken = False
        self.waited = timedelta(0)
        self.abandoned = 0
        self.cancelled = False

    async def begin(self) -> None:
        await self.town.open()
        self.shop = self.town.shop
        self.shop.started = []
        assert isinstance(self.shop.outside, OutsideOfEach)
        self.outside = self.shop.outside.of[self.id]
        budget = timedelta(minutes=10 if self.patient else 5)
        # One attempt may take it all, so that a step that hangs is not tried again.
        policy = Policy(attempt_timeout=budget, budget=budget, review_timeout=REVIEW_TIMEOUT)
        self.order = await self.shop.start(self.id, policy)

    # What a plan may say:

    async def ask(self, *requests: Asked) -> None:
        if len(requests) > 1 and not self.hanging():
            # A step may begin with the first and end with the second (see Town).
            for request in requests:
                await self.ask(request)
            return
        self.asked += requests
        cancels = any(request.what == "cancel" for request in requests)
        if cancels or any(request.how == "update" for request in requests):
            await self.settle()
        if cancels and self.hanging() and not await self.ended():
            await self.hold("close_order")  # and let go last, so that what hangs now ends first
            if not self.cancelled:
                self.abandoned += sum(step in SHIPPING for step in self.hanging())
            self.cancelled = True
        answers = {request: asyncio.create_task(request.of(self.order)) for request in requests}
        self.answers += answers.values()
        # An Update may be answered only when what hangs is let go: that comes later in the plan.
        await asyncio.wait(answers.values(), timeout=0.05)
        await asyncio.gather(*(answer for request, answer in answers.items() if request.how != "update"))
        if cancels:
            await self.settle()

    async def say_nonsense(self, how: str, argument: Any) -> None:
        with suppress(WorkflowUpdateFailedError, RPCError):
            if how == "signal":
                await self.order.signal("update_address", args=[argument])
            else:
                await self.settle()
                await self.order.execute_update("change_address", args=[argument])

    async def a_stranger_says_that_dispatch_failed(self) -> None:
        with suppress(RPCError):  # it has ended
            await self.order.signal(OrderWorkflow.dispatch_failed, "the van broke down")

    async def fail(self, step: str, times: int) -> None:
        self.outside.errors[step] += times
        self.broken = self.broken or times >= FOR_EVER

    async def refuse(self, step: str) -> None:
        self.outside.refusals[step] += 1
        self.refused = True

    async def hold(self, step: str) -> None:
        """Let the next call of that step hang, unless one hangs already."""
        if step not in self.hanging():
            self.outside.hold_next(step)

    async def let_go(self) -> None:
        await self.settle()
        self.outside.let_go(*(step for step in self.hanging() if step != "close_order"))
        await self.settle()
        self.outside.let_go()

    async def mend(self) -> None:
        self.outside.errors.clear()

    async def let_time_pass(self, by: timedelta) -> None:
        """Skip time, except while an attempt hangs: the test server cannot skip then.

        Skip only little while a step fails again and again, because each of its attempts takes real time.
        """
        await self.settle()
        if not self.hanging() and not await self.ended():
            if (await self.shop.status(self.order)).step != "review":
                by = min(by, timedelta(minutes=6))
            await self.shop.env.sleep(by)
            self.waited += by

    async def look(self) -> None:
        """Query the order, which must answer at every moment."""
        status = await self.shop.status(self.order)
        assert str(status.total) == "5.00"
        assert status.shipping_tries <= 3
        assert len(status.errors) <= 10

    async def settle(self) -> None:
        """Wait until the order has ended, hangs, waits for its review, or fails again and again."""

        def goes_nowhere(it: PendingActivityInfo) -> bool:
            step = it.activity_type.name
            return step in self.hanging() or (self.outside.errors[step] > FOR_EVER / 2 and it.attempt > 1)

        async def rests() -> bool:
            description = await self.order.describe()
            if description.status is not WorkflowExecutionStatus.RUNNING:
                return True
            pending = list(description.raw_description.pending_activities)
            for child in description.raw_description.pending_children:
                handle = self.shop.client.get_workflow_handle(child.workflow_id)
                try:
                    pending += (await handle.describe()).raw_description.pending_activities
                except RPCError as error:
                    if error.status is not RPCStatusCode.NOT_FOUND:
                        raise
                    return False  # it is just being started
            if pending:
                resting = all(map(goes_nowhere, pending))
            else:
                resting = (await self.shop.status(self.order)).step == "review"
            if not resting or not await self.shop.nobody_is_at(self.order):
                return False  # a worker that replays takes its time
            return (await self.order.describe()).history_length == description.history_length

        await until(rests, timeout=SETTLE_WITHIN)

    # And at last:

    async def end(self, approved: bool) -> None:
        """Release every step, approve the order or let its review expire, and wait for its end."""
        await self.let_go()
        self.outside.errors.clear()
        if approved:
            await self.ask(Asked("approve", "signal", ""))
            await self.settle()
        with suppress(WorkflowFailureError):
            await self.order.result()
        await asyncio.gather(*self.answers)

    async def check(self, approved: bool) -> None:
        """Check what must hold for every outcome of a race."""
        events = self.shop.events(self.id)
        row = self.shop.row(self.id)
        status = await self.shop.status(self.order)
        note(f"{self.id}: {row['state']}: {events}; asked {self.asked}")
        assert [str(found) for found in audit(self.town.engine) if found.order_id == self.id] == []
        await assert_temporal_agrees(self.shop)
        assert (status.state, status.waiting_for) == (row["state"], None)
        assert (status.reason is None) == (status.state is OrderState.SHIPPED)
        assert status.address.model_dump() == row["address_json"]

        end = ENDS[next(event for event in events if event in ENDS)]
        heard = [asked for asked in self.asked if asked.answer in ("delivered", "accepted")]
        cancels = [asked for asked in heard if asked.what == "cancel"]
        changed = [told["address"] for told in self.shop.told("address_changed", self.id)]
        late = [told["reason"] for told in self.shop.told("late_signal", self.id)]

        # It ends badly for a reason only.
        if end == "cancelled":
            (told,) = self.shop.told("order_cancelled", self.id)
            reasons = {"the workflow was cancelled" if it.how == "temporal" else it.words for it in cancels}
            if told["reason"] == "review expired":
                assert not approved or self.waited >= REVIEW_TIMEOUT
            else:
                assert told["reason"] in reasons
        assert end != "failed" or self.refused or self.broken or not self.patient
        # Nobody pays for what nobody approved.
        assert any(asked.what == "approve" for asked in heard) or "order_approved" not in events
        # Who is told that it is cancelled is right, and who asked in vain is on record, or was told.
        for asked in cancels:
            assert asked.how != "update" or end == "cancelled"
            assert end == "cancelled" or any(reason.startswith("cancel") for reason in late)
        # An address is changed if and only if that was accepted; a signal may be too late, and is then on record.
        for asked in [asked for asked in self.asked if asked.what == "address"]:
            if asked.how == "update":
                assert (asked.words in changed) == (asked.answer == "accepted")
            elif asked.answer == "delivered" and asked.words not in changed:
                assert "update_address" in late
        assert row["address_json"]["address"] == (changed[-1] if changed else "575 Lake Dr.")
        await self._remember_histories(status.shipping_tries)

    async def _remember_histories(self, children: int) -> None:
        ids = [self.order.id, *(f"ship-{self.id}-{number}" for number in range(1, children + 1))]
        self.town.histories += [await self.shop.client.get_workflow_handle(it).fetch_history() for it in ids]

    def hanging(self) -> list[str]:
        return self.outside.hanging()

    async def ended(self) -> bool:
        return (await self.order.describe()).status is not WorkflowExecutionStatus.RUNNING


# --- the machine that writes plans ------------------------------------------------------------------------------------

any_step = st.sampled_from([*STEPS, "close_order"])
signal_or_update = st.sampled_from(["signal", "update"])
signals = st.sampled_from([("approve", "signal"), ("cancel", "signal"), ("address", "signal"), ("cancel", "temporal")])


class AnyOrder(RuleBasedStateMachine):
    """Write a plan without waiting for anything, so that Hypothesis always draws the same examples."""

    def __init__(self, town: Town, beginning: str) -> None:
        """Begin at the first step that hangs, or at the review."""
        super().__init__()
        self.town = town
        self.beginning = beginning
        self.plan: list[Callable[[Life], Awaitable[None]]] = []
        self.words = 0

    def _then(self, do: Callable[[Life], Awaitable[None]]) -> None:
        self.plan.append(do)

    def _ask(self, *requests: tuple[str, str]) -> None:
        self.words += 1
        asked = [Asked(what, how, f"{what} {self.words}.{n}") for n, (what, how) in enumerate(requests)]
        self._then(lambda life: life.ask(*asked))

    @initialize(patient=st.booleans(), approved=st.booleans())
    def start(self, patient: bool, approved: bool) -> None:
        """Start an order; `approved`: it is approved in the end, if not before."""
        self.patient, self.approved = patient, approved
        beginning = self.beginning
        if beginning != "review":
            self._then(lambda life: life.hold(beginning))
        if beginning in STEPS[2:]:
            self._then(lambda life: life.ask(Asked("approve", "signal", "")))
        self._then(lambda life: life.settle())

    @rule(how=signal_or_update)
    def approve(self, how: str) -> None:
        self._ask(("approve", how))

    @rule(how=st.sampled_from(["signal", "update", "temporal"]))
    def cancel(self, how: str) -> None:
        self._ask(("cancel", how))

    @rule(how=signal_or_update)
    def change_address(self, how: str) -> None:
        self._ask(("address", how))

    @rule(several=st.lists(signals, min_size=2, max_size=3))
    def ask_in_the_same_moment(self, several: list[tuple[str, str]]) -> None:
        self._ask(*several)

    @rule(step=any_step, what=st.sampled_from(["fails", "fails twice", "breaks", "is refused", "hangs"]))
    def trouble(self, step: str, what: str) -> None:
        times = {"fails": 1, "fails twice": 2, "breaks": FOR_EVER}.get(what)
        if times:
            self._then(lambda life: life.fail(step, times))
        elif what == "hangs":
            self._then(lambda life: life.hold(step))
        else:
            self._then(lambda life: life.refuse(step))

    @rule(mended=st.booleans())
    def go_on(self, mended: bool) -> None:
        self._then(lambda life: life.mend() if mended else life.let_go())

    @rule(by=st.sampled_from([timedelta(seconds=1), timedelta(minutes=6), timedelta(hours=30), timedelta(days=4)]))
    def let_time_pass(self, by: timedelta) -> None:
        self._then(lambda life: life.let_time_pass(by))

    @rule(what=st.sampled_from(["nowhere", {"address": ""}, None, "dispatch failed", "look"]), how=signal_or_update)
    def small_talk(self, what: Any, how: str) -> None:
        """Send signals and queries that must change nothing."""
        if what == "dispatch failed":
            self._then(lambda life: life.a_stranger_says_that_dispatch_failed())
        elif what == "look":
            self._then(lambda life: life.look())
        else:
            self._then(lambda life: life.say_nonsense(how, what))

    def teardown(self) -> None:
        if hasattr(self, "patient"):
            self.town.run(self._carry_out())

    async def _carry_out(self) -> None:
        life = Life(self.town, self.patient)
        try:
            await life.begin()
            for do in self.plan:
                await do(life)
            await life.end(self.approved)
            await life.check(self.approved)
        except BaseException:
            life.outside.let_go()
            await self.town.close()
            raise
        if not await self.town.skips_time(life.abandoned):
            await self.town.close()


# --- what a test calls ------------------------------------------------------------------------------------------------


def everyday() -> bool:
    """Return True in `make test`, False in `make proof`, which draws more plans."""
    return settings.get_current_profile_name() != "proof"


def begun_as(town: Town, beginning: str) -> type[AnyOrder]:
    """Return a state machine whose orders all begin in that way."""

    class Begun(AnyOrder):
        def __init__(self) -> None:
            super().__init__(town, beginning)

    return Begun


def check_any_order(database_url: str, cache: int, beginnings: Sequence[str], examples: int, seed: int) -> None:
    """Check so many orders that begin there. `cache`: as for a Shop."""
    if "ORDER_EXAMPLES" in os.environ:
        examples = int(os.environ["ORDER_EXAMPLES"])
        seed = int(os.environ.get("ORDER_SEED") or random.SystemRandom().randrange(2**32))
    town = Town(database_url, cache)
    each = settings(
        max_examples=-(-examples // len(beginnings)),
        stateful_step_count=8,
        deadline=None,
        database=None,
        report_multiple_bugs=False,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    began = time.monotonic()
    try:
        # One machine for each beginning: left to itself, Hypothesis begins most orders alike.
        for number, beginning in enumerate(beginnings):
            check = get_state_machine_test(begun_as(town, beginning), settings=each)
            hypothesis.seed(seed + number)(check)()
        assert audit(town.engine) == []
        town.run(town.replay())
        assert town.orders >= examples
    finally:
        took = time.monotonic() - began
        print(
            f"ORDER_EXAMPLES={examples} ORDER_SEED={seed}: {town.orders} orders in {took:.1f} s, {town.servers} servers"
        )
        town.end()
