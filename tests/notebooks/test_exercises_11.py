"""The checks of notebook 11 name the right answer and each mistake, in a real lab."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping

import pytest

from order_lifecycle import lab
from order_lifecycle.client import connect, start_order
from order_lifecycle.domain import Address, Item, Order, Policy
from order_lifecycle.lab.checks.nb11_in_production import CLOUD
from order_lifecycle.lab.process import LabProcess
from order_lifecycle.lab.servers import LabServers
from order_lifecycle.lab.waiting import run_in_own_loop
from order_lifecycle.settings import Settings
from order_lifecycle.workflows.order import OrderWorkflow

WAITING = "OrderState = 'awaiting_review'"


@pytest.fixture(scope="module")
def worker(lab_servers: LabServers) -> Iterator[LabProcess]:
    """Start an order worker whose calls sometimes fail."""
    worker = lab.start_worker("order", lab.Faults(fail=0.5, seed=3), metrics=True)
    yield worker
    worker.stop()


@pytest.fixture(scope="module")
def orders(worker: LabProcess) -> None:
    """Start four orders at 2.50 and 10.00: two that wait, and two that were cancelled."""
    run_in_own_loop(four_orders())


async def four_orders() -> None:
    client = await connect()
    handles = []
    for order_id, apples in (("waits-1", 1), ("waits-4", 4), ("gone-1", 1), ("gone-4", 4)):
        order = Order(
            id=order_id,
            payment_id=f"pay-{order_id}",
            items=[Item(name="apple", qty=apples, price="2.50")],  # type: ignore[arg-type]
            address=Address(address="575 Lake Dr.", city="Columbus", state="OH", zipcode="43210"),
        )
        handles.append(await start_order(client, order, Policy()))
    for handle in handles:
        await lab.wait_for_state(handle, "awaiting_review")
    for handle in handles[2:]:
        await handle.signal(OrderWorkflow.cancel_order, "changed my mind")
        await handle.result()

    async def listed() -> bool:
        counts = [await client.count_workflows(f"OrderState = '{state}'") for state in ("awaiting_review", "cancelled")]
        return [count.count for count in counts] == [2, 2]

    await lab.wait_until(listed, "the list to be up to date")


@pytest.mark.usefixtures("orders")
@pytest.mark.parametrize(
    ("query", "says"),
    [
        (f"{WAITING} AND OrderTotal > 5", "✓ Right. It finds exactly the orders that it should: 1."),
        (f"{WAITING} AND OrderTotal >= 10.0", "✓ Right"),
        (
            f"{WAITING} AND OrderTotal >= 2.5",
            "✗ Not yet. It finds 1 too many, such as order-waits-1. Hint: use `OrderTotal > 5.00`, joined by AND",
        ),
        (
            "OrderTotal > 5",
            "✗ Not yet. It finds 1 too many, such as order-gone-4. Hint: add AND and a condition on OrderState",
        ),
        (
            "WorkflowType = 'OrderWorkflow' AND OrderTotal > 5",
            "✗ Not yet. It finds 1 too many, such as order-gone-4. Hint: add AND and a condition on OrderState",
        ),
        (
            "OrderState = 'cancelled' AND OrderTotal > 5",
            "✗ Not yet. It finds 1 too many, such as order-gone-4. Hint: use `OrderState = 'awaiting_review'`, joi",
        ),
        (WAITING, "✗ Not yet. It finds 1 too many, such as order-waits-1. Hint: add AND and a condition on OrderTotal"),
        (f"{WAITING} AND OrderTotal > 10", "✗ Not yet. It misses 1, such as order-waits-4"),
        ("OrderState is waiting", "✗ Not yet. The server says: invalid query"),
        (..., "✗ Not yet. There is no query yet"),
    ],
)
def test_the_check_of_the_list_filter_names_each_mistake(query: object, says: str) -> None:
    said = str(lab.check_query(query, state="awaiting_review", more_than="5.00"))
    assert said.startswith(says)
    assert said.startswith("✓") or "Hint: " in said


def right(lines: list[str]) -> Counter[str]:
    said = [json.loads(line) for line in lines if line.startswith("{")]
    return Counter(each["step"] for each in said if "took" in each)


def trusting(lines: list[str]) -> Counter[str]:
    return Counter(each["step"] for each in map(json.loads, lines) if "took" in each)


def with_a_step_that_never_failed(lines: list[str]) -> dict[str, int]:
    return {"prepare_package": 0, **right(lines)}


def of_lines_that_have_none(lines: list[str]) -> Counter[str]:
    return Counter(json.loads(line)["step"] for line in lines if line.startswith("{"))


def in_a_plain_dictionary(lines: list[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for step in sorted(right(lines).elements()):
        counts[step] += 1
    return counts


def every_line_with_a_word(lines: list[str]) -> Counter[str]:
    return Counter(json.loads(line)["step"] for line in lines if "validate_order" in line and "took" in line)


@pytest.mark.usefixtures("orders")
@pytest.mark.parametrize(
    ("count", "says"),
    [
        (right, "✓ Right. "),
        (with_a_step_that_never_failed, "✓ Right. "),
        (of_lines_that_have_none, "✗ Not yet. It raises KeyError: 'step'. Hint: not every line has that key"),
        (in_a_plain_dictionary, "✗ Not yet. It raises KeyError: 'receive_order'. Hint: at its first failure a step is"),
        (trusting, "✗ Not yet. It raises JSONDecodeError"),
        (every_line_with_a_word, "✗ Not yet. receive_order failed "),
        (lambda lines: None, "✗ Not yet. It returns nothing yet"),
        (lambda lines: list(right(lines)), "✗ Not yet. Expected a dictionary, got list. Hint: return a"),
    ],
)
def test_the_check_of_the_count_names_each_mistake(
    worker: LabProcess, count: Callable[[list[str]], Mapping[str, int]], says: str
) -> None:
    said = str(lab.check_counted(count, worker))
    assert said.startswith(says)
    assert said.startswith("✓") or "Hint: " in said


@pytest.mark.usefixtures("orders")
def test_the_metrics_and_the_log_count_the_same_failures(worker: LabProcess) -> None:
    numbers = lab.metrics(worker)
    failed = numbers[numbers["metric"] == "temporal_activity_execution_failed"]
    told = right(worker.log().splitlines())
    assert told
    assert {
        about.partition(",")[0]: value for about, value in zip(failed["about"], failed["value"], strict=True)
    } == told


async def test_a_throughput_that_times_out_says_how_many_orders_ended(orders: None) -> None:
    client = await connect()
    handles = [client.get_workflow_handle(f"order-{name}") for name in ("gone-1", "waits-1", "gone-4")]
    with pytest.raises(lab.LabError, match="3 orders to end: █████████████░░░░░░░ 2 of 3"):
        await lab.throughput(handles, timeout=1)
    picture = await lab.throughput([handles[0], handles[2]])
    assert list(picture.frame["ended"]) == sorted(picture.frame["ended"])
    assert picture.took >= (picture.frame["ended"] - picture.frame["started"]).max()


def without(name: str) -> dict[str, str]:
    return {each: value for each, value in CLOUD.items() if each != name}


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (CLOUD, "✓ Right"),
        ({}, "✗ Not yet. There are no settings yet"),
        ({**CLOUD, "DATABASE_URL": ""}, "✗ Not yet. DATABASE_URL is not set"),
        ({**CLOUD, "TEMPORAL_HOST": 7233}, "✗ Not yet. The value of TEMPORAL_HOST is not a string"),
        *((without(name), f"✗ Not yet. {name} is not set") for name in CLOUD),
        (
            {**without("TEMPORAL_HOST"), "TEMPORAL_ADDRESS": CLOUD["TEMPORAL_HOST"]},
            "✗ Not yet. TEMPORAL_HOST is not set",
        ),
        ({**CLOUD, "TEMPORAL_HOST": f"https://{CLOUD['TEMPORAL_HOST']}"}, "✗ Not yet. TEMPORAL_HOST (in the"),
        ({**CLOUD, "TEMPORAL_NAMESPACE": "orders"}, "✗ Not yet. TEMPORAL_NAMESPACE is 'orders'. Hint"),
        ({**CLOUD, "DATABASE_URL": "postgresql+psycopg2://orders:***@db.example.com/orders"}, "✓ Right"),
        ({**CLOUD, "DATABASE_URL": "postgres://orders:***@db.example.com/orders"}, "✓ Right"),
        (
            {**CLOUD, "TEMPORAL_TLS_CLIENT_CERT_PATH": "a.pem", "TEMPORAL_TLS_CLIENT_CERT_DATA": "a"},
            "✗ Not yet. The SDK says: ",
        ),
        (
            {**CLOUD, "DATABASE_URL": "postgresql://orders:***@localhost/orders"},
            "✗ Not yet. DATABASE_URL has the wrong host",
        ),
        ({**CLOUD, "TEMPORAL_TLS": "false"}, "✗ Not yet. The API key would be sent unencrypted"),
    ],
)
def test_the_check_of_the_settings_names_each_mistake(settings: dict[str, str], says: str) -> None:
    before = dict(os.environ)
    said = str(lab.check_settings(settings))
    assert said.startswith(says)
    assert said.startswith("✓") or "Hint: " in said
    assert dict(os.environ) == before
    assert Settings.model_fields.keys() >= {name.lower() for name in CLOUD} - {"temporal_api_key"}
