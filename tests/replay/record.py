"""Record the histories that test_replay.py replays: `make histories`, or some of them only,
`make histories HISTORIES_ARGS='shipped late_signals'`. Each order runs on real servers, with real workers.

Record if there is a new kind of order, or if no running order can have the old history any more.
Do not record because a replay fails: running orders could not continue with the new code, and a new history would hide
that. Use `workflow.patched` to keep the old path, and keep its history. Record the new path as a kind of its own.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

from temporalio.client import (
    Client,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHistory,
    WorkflowUpdateStage,
)
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.testing import WorkflowEnvironment

from order_lifecycle.client import start_order
from order_lifecycle.db.audit import audit
from order_lifecycle.db.store import Store, connect
from order_lifecycle.domain import Address, Policy
from order_lifecycle.settings import Addresses, Settings
from order_lifecycle.stack import process
from order_lifecycle.stack.stack import Stack
from order_lifecycle.workflows.order import OrderWorkflow
from order_lifecycle.workflows.records import LATE_ONE_BY_ONE
from tests.replay.recorded import ENDS, HISTORIES, WHY, as_text, end_of
from tests.support.orders import an_order
from tests.support.shop import Handle, Shop
from tests.support.waiting import until

ACCEPTED = WorkflowUpdateStage.ACCEPTED
ELSEWHERE = Address(address="5 Lake Dr.", city="Temp", state="AL", zipcode="43561")

Drive = Callable[[Shop, str], Awaitable[Handle]]
KINDS: dict[str, tuple[Drive, tuple[str, ...]]] = {}


def kind(*workers: str) -> Callable[[Drive], Drive]:
    """Register what happens to an order of that kind while these workers run, until the order ends."""

    def add(drive: Drive) -> Drive:
        KINDS[drive.__name__] = drive, workers or ("order", "shipping")
        return drive

    return add


async def approved(shop: Shop, name: str, **policy: Any) -> Handle:
    order = await shop.start(name, policy=Policy(**policy))
    await order.signal(OrderWorkflow.approve_order)
    return order


# --- shipped ---------------------------------------------------------------------------------------------------------


@kind()
async def shipped(shop: Shop, name: str) -> Handle:
    order = await shop.start_until("review", name)
    await order.signal(OrderWorkflow.approve_order)
    return order


@kind()
async def shipped_after_retries(shop: Shop, name: str) -> Handle:
    shop.outside.errors.update(receive_order=1, charge_payment=3, dispatch_carrier=2)
    shop.outside.hold("prepare_package")  # its first attempt hangs and times out
    return await approved(shop, name)


@kind()
async def shipped_despite_nonsense(shop: Shop, name: str) -> Handle:
    order = await shop.start_until("review", name)
    await order.signal("update_address", args=["not an address"])
    await order.signal("cancel_order", args=[{"why": 1}, 2, 3])
    await order.signal("dispatch_failed", args=["the van broke down"])
    await order.signal("no_such_signal")
    await order.signal(OrderWorkflow.approve_order)
    return order


@kind()
async def approved_by_update(shop: Shop, name: str) -> Handle:
    order = await shop.start_until("review", name)
    await order.execute_update(OrderWorkflow.change_address, ELSEWHERE)
    await order.execute_update(OrderWorkflow.approve)
    return order


@kind()
async def approved_at_the_start(shop: Shop, name: str) -> Handle:
    return await start_order(shop.client, an_order(name), shop.policy, approve=True)


@kind()
async def address_changed(shop: Shop, name: str) -> Handle:
    """Change the address before the order is received, in its review, and while it is being shipped."""
    shop.outside.hold("dispatch_carrier")
    order = await shop.start_until("receive_order", name)
    await order.signal(OrderWorkflow.update_address, ELSEWHERE)
    shop.outside.let_go("receive_order")
    await until(lambda: len(shop.told("address_changed", name)) == 1)
    await order.signal(OrderWorkflow.update_address, ELSEWHERE.model_copy(update={"address": "6 Lake Dr."}))
    await order.signal(OrderWorkflow.approve_order)
    await until(lambda: shop.outside.reached("dispatch_carrier"))
    await order.execute_update(OrderWorkflow.change_address, ELSEWHERE.model_copy(update={"address": "7 Lake Dr."}))
    shop.outside.let_go()
    return order


@kind()
async def late_signals(shop: Shop, name: str) -> Handle:
    order = await shop.start_until("ship_order", name)
    await order.signal(OrderWorkflow.cancel_order, WHY)
    await order.signal(OrderWorkflow.update_address, ELSEWHERE)
    await order.signal(OrderWorkflow.approve_order)
    await until(lambda: len(shop.told("late_signal", name)) == 3)
    shop.outside.let_go()
    return order


@kind()
async def more_late_signals_than_are_recorded(shop: Shop, name: str) -> Handle:
    order = await shop.start_until("ship_order", name)
    for _ in range(LATE_ONE_BY_ONE + 5):
        await order.signal(OrderWorkflow.approve_order)
    await until(lambda: len(shop.told("late_signal", name)) == LATE_ONE_BY_ONE)
    shop.outside.let_go()
    return order


@kind()
async def dispatch_failed_and_recovered(shop: Shop, name: str) -> Handle:
    shop.outside.refusals["dispatch_carrier"] = 1
    return await approved(shop, name)


@kind()
async def carrier_quicker_than_cancel(shop: Shop, name: str) -> Handle:
    """The carrier is also quicker than a change of address: the database knows before the workflow does."""
    order = await shop.start_until("dispatch_carrier", name)
    shop.outside.hold("close_order")
    await order.signal(OrderWorkflow.cancel_order, WHY)
    await until(lambda: shop.outside.reached("close_order"))
    shop.outside.let_go("dispatch_carrier")
    await shop.until_event(name, "carrier_dispatched")
    await order.signal(OrderWorkflow.update_address, ELSEWHERE)
    await shop.until_event(name, "late_signal")
    shop.outside.let_go()
    return order


# --- cancelled -------------------------------------------------------------------------------------------------------


async def cancelled_in(wait: str, shop: Shop, name: str) -> Handle:
    order = await shop.start_until(wait, name)
    await order.signal(OrderWorkflow.cancel_order, WHY)
    return order


@kind()
async def cancelled_before_received(shop: Shop, name: str) -> Handle:
    return await cancelled_in("receive_order", shop, name)


@kind()
async def cancelled_while_validating(shop: Shop, name: str) -> Handle:
    return await cancelled_in("validate_order", shop, name)


@kind()
async def cancelled_in_review(shop: Shop, name: str) -> Handle:
    return await cancelled_in("review", shop, name)


@kind()
async def approved_too_late(shop: Shop, name: str) -> Handle:
    """Approve the order while it is being cancelled."""
    shop.outside.hold("close_order")
    order = await cancelled_in("review", shop, name)
    await until(lambda: shop.outside.reached("close_order"))
    await order.signal(OrderWorkflow.approve_order)
    await shop.until_event(name, "late_signal")
    shop.outside.let_go()
    return order


@kind()
async def cancelled_while_approving(shop: Shop, name: str) -> Handle:
    order = await shop.start_until("review", name)
    with shop.place_taken("order_approved", name):
        await order.signal(OrderWorkflow.approve_order)
        await until(shop.somebody_waits)
        await order.signal(OrderWorkflow.cancel_order, WHY)
        await until(lambda: shop.status(order), lambda status: status.step == "close_order")
    return order


@kind()
async def cancelled_while_charging(shop: Shop, name: str) -> Handle:
    """The charge is quicker than the cancel, and is refunded."""
    shop.outside.hold("close_order")
    order = await cancelled_in("charge_payment", shop, name)
    await until(lambda: shop.outside.reached("close_order"))
    shop.outside.let_go("charge_payment")
    await shop.until_event(name, "payment_charged")
    shop.outside.let_go()
    return order


@kind("order activities", "shipping")
async def cancelled_as_the_charge_ends(shop: Shop, name: str) -> Handle:
    """The workflow learns of both in one workflow task, because its worker was away."""
    async with shop.working("order workflows"):
        order = await shop.start_until("charge_payment", name)
    await order.signal(OrderWorkflow.cancel_order, WHY)
    shop.outside.let_go()
    await until(lambda: ended("charge_payment", order))
    async with shop.working("order workflows"):
        await order.result()
    return order


async def ended(step: str, order: Handle) -> bool:
    """Return True if the server knows that this step is done."""
    pending = (await order.describe()).raw_description.pending_activities
    return step not in [activity.activity_type.name for activity in pending]


@kind("order")
async def cancelled_without_a_shipping_worker(shop: Shop, name: str) -> Handle:
    order = await approved(shop, name)
    await until(lambda: shop.status(order), lambda status: status.step == "shipping")
    await order.signal(OrderWorkflow.cancel_order, WHY)
    return order


@kind()
async def cancelled_while_packing(shop: Shop, name: str) -> Handle:
    return await cancelled_in("prepare_package", shop, name)


@kind()
async def cancelled_while_dispatching(shop: Shop, name: str) -> Handle:
    return await cancelled_in("dispatch_carrier", shop, name)


@kind()
async def cancelled_between_tries(shop: Shop, name: str) -> Handle:
    """Cancel the order while the failure of the first try is being recorded."""
    shop.outside.refusals["dispatch_carrier"] = 1
    order = await shop.start_until("dispatch_carrier", name)
    with shop.place_taken("dispatch_failed#1", name):
        shop.outside.let_go()
        await until(shop.somebody_waits)
        await order.signal(OrderWorkflow.cancel_order, WHY)
        await until(lambda: shop.status(order), lambda status: status.step == "close_order")
    return order


@kind()
async def cancelled_in_second_try(shop: Shop, name: str) -> Handle:
    shop.outside.refusals["prepare_package"] = 1
    return await cancelled_in("dispatch_carrier", shop, name)


@kind()
async def cancelled_by_update(shop: Shop, name: str) -> Handle:
    order = await shop.start_until("review", name)
    await order.execute_update(OrderWorkflow.cancel, WHY)
    return order


@kind()
async def cancelled_by_temporal(shop: Shop, name: str) -> Handle:
    """Cancel a second time while the refund runs."""
    order = await shop.start_until("prepare_package", name)
    shop.outside.hold("close_order")
    await order.cancel()
    await until(lambda: shop.outside.reached("close_order"))
    await order.cancel()
    shop.outside.let_go()
    return order


@kind()
async def review_expired(shop: Shop, name: str) -> Handle:
    return await shop.start(name, policy=Policy(review_timeout=timedelta(seconds=0.5)))


# --- failed ----------------------------------------------------------------------------------------------------------


@kind()
async def failed_for_good(shop: Shop, name: str) -> Handle:
    shop.outside.refusals["dispatch_carrier"] = 3
    return await approved(shop, name)


@kind()
async def refused_payment(shop: Shop, name: str) -> Handle:
    await (await approved(shop, "owner")).result()
    return await shop.start(name, payment_id="pay-owner")


@kind()
async def budget_used_up(shop: Shop, name: str) -> Handle:
    shop.outside.errors["charge_payment"] = 1000
    return await approved(shop, name, budget=timedelta(seconds=2))


@kind()
async def another_runs_order(shop: Shop, name: str) -> Handle:
    shop.store.receive(an_order(name), "another run")
    return await shop.start(name)


# --- recording -------------------------------------------------------------------------------------------------------


async def record(kinds: list[str], addresses: Addresses) -> None:
    """Write the histories of these kinds. If one ends in a wrong way, write none."""
    client = await Client.connect(addresses.temporal_host, data_converter=pydantic_data_converter, identity="recorder")
    engine = connect(addresses.database_url, pool_size=20)
    texts: dict[str, str] = {}
    for name in kinds:
        shop = Shop(WorkflowEnvironment.from_client(client), Store(engine))
        if "order activities" in KINDS[name][1]:
            shop = Shop(shop.env, shop.store, cache=0)  # nobody waits for what a worker had cached
        histories = await run(shop, name)
        end = end_of(histories[name])
        assert end == ENDS[name], f"{name}: {end}"
        texts |= {stem: as_text(scrubbed(history.to_json_dict())["events"]) for stem, history in histories.items()}
        print(
            f"  {name:35}  {' + '.join(str(len(h.events)) for h in histories.values()):>12} events  {end}", flush=True
        )
    assert audit(engine) == []
    engine.dispose()
    HISTORIES.mkdir(exist_ok=True)
    for name in kinds:
        for old in HISTORIES.glob(f"{name}.*json"):
            old.unlink()
    for stem, text in texts.items():
        (HISTORIES / f"{stem}.json").write_text(text)
    print(f"{len(kinds)} kinds, {len(texts)} histories, {sum(map(len, texts.values())) // 1024} kB")


async def run(shop: Shop, name: str) -> dict[str, WorkflowHistory]:
    """Run an order to its end, and return its history and those of its children by file name."""
    drive, workers = KINDS[name]
    async with shop.working(*workers):
        order = await drive(shop, name)
        with suppress(WorkflowFailureError):
            await order.result()
        histories = {name: await order.fetch_history()}
        for event in histories[name].events:
            if event.HasField("child_workflow_execution_started_event_attributes"):
                child_id = event.child_workflow_execution_started_event_attributes.workflow_execution.workflow_id
                child = shop.client.get_workflow_handle(child_id)
                await until(child.describe, lambda child: child.status is not WorkflowExecutionStatus.RUNNING)
                histories[child_id.replace(f"ship-{name}-", f"{name}.ship-")] = await child.fetch_history()
    return histories


# What tells of the machine, of the run of the server, or of a version of the code, and what no replay looks at.
DROPPED = {
    *("identity", "stackTrace", "binaryChecksum", "workerVersion", "workerDeploymentName", "deploymentVersion"),
    *("requestId", "taskId", "workflowTaskRequestId"),
}


def scrubbed(value: Any) -> Any:
    """Return the JSON value without these fields, at any depth."""
    if isinstance(value, list):
        return [scrubbed(item) for item in value]
    if not isinstance(value, dict):
        return value
    if value.get("kind") == "TASK_QUEUE_KIND_STICKY":
        value = {**value, "name": "sticky"}
    return {key: scrubbed(item) for key, item in value.items() if key not in DROPPED}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.replay.record", description=__doc__.splitlines()[0])
    parser.add_argument("kinds", nargs="*", metavar="kind", help=f"of {', '.join(KINDS)} (all)")
    kinds = parser.parse_args().kinds or list(KINDS)
    assert set(KINDS) == set(ENDS), set(KINDS) ^ set(ENDS)
    if unknown := set(kinds) - set(KINDS):
        parser.error(f"there is no kind {', '.join(sorted(unknown))}")
    logging.getLogger("temporalio").setLevel(logging.CRITICAL)  # what fails here is meant to
    # Servers for this alone, whatever the settings say.
    with Stack(None, settings=Settings(_env_file=None, temporal_host=None, database_url=None)) as addresses:
        process.run(record(kinds, addresses))


if __name__ == "__main__":
    main()
