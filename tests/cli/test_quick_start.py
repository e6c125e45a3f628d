"""The quick start, command by command, each in its own process.

Then the same commands answer in JSON, send signals, and refuse requests.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy import make_url, text
from temporalio.client import Client

from order_lifecycle.db.store import connect
from order_lifecycle.settings import Addresses
from tests.support.command_line import Answer, command, workers
from tests.support.waiting import wait_until

ITEMS = '[{"name":"apple","qty":1,"price":5.00}]'
ADDRESS = '{"address":"575 Lake Dr.","city":"Columbus","state":"OH","zipcode":"43210"}'
ELSEWHERE = '{"address":"5 Lake Dr.","city":"Temp","state":"AL","zipcode":"43561"}'

pytestmark = pytest.mark.usefixtures("in_shop")
Command = Callable[..., Answer]


def start(run: Command, order_id: str, *options: str) -> Answer:
    return run("start", order_id, f"pay-{order_id}", "--items", ITEMS, "--address", ADDRESS, *options)


def until_state(run: Command, order_id: str, state: str) -> dict[str, Any]:
    def report() -> dict[str, Any]:
        return dict(run("status", order_id, "--json").json())

    return wait_until(report, lambda found: found["state"] == state, what=f"{order_id} to be {state}", timeout=20)


def test_the_quick_start_works_as_written() -> None:
    assert command("start", "abc-001", "123", "--items", ITEMS, "--address", ADDRESS).says("started order abc-001")
    until_state(command, "abc-001", "awaiting_review")
    assert command("update-address", "abc-001", "--address", ELSEWHERE).says("goes to 5 Lake Dr., Temp")
    assert command("status", "abc-001").says("waits for  approve_order")
    assert command("approve", "abc-001").says("order abc-001: approved")
    assert command("status", "abc-001", "--watch").says("order abc-001: shipped")

    assert start(command, "abc-002").status == 0
    assert command("cancel", "abc-002", "--reason", "too dear").says("order abc-002: cancelled: too dear")

    shown = command("tables", "abc-001")
    assert shown.says("orders (1)")
    assert "payments (1)" in shown.out
    assert "events (9)" in shown.out
    listed = command("list")
    assert listed.says("abc-001")
    assert "abc-002" in listed.out


def test_each_command_answers_in_json(inside: Command) -> None:
    answer = start(inside, "json-1", "--json").json()
    assert (answer["order_id"], answer["workflow_id"]) == ("json-1", "order-json-1")
    assert answer["ui"].endswith("/workflows/order-json-1")
    assert until_state(inside, "json-1", "awaiting_review")["status"]["waiting_for"] == "approve_order"
    answer = inside("update-address", "json-1", "--address", ELSEWHERE, "--json").json()
    assert answer["order_id"] == "json-1"
    assert inside("approve", "json-1", "--json").json()["message"] == "approved"
    until_state(inside, "json-1", "shipped")
    tables = inside("tables", "json-1", "--json").json()
    assert [row["address_json"]["city"] for row in tables["orders"]] == ["Temp"]
    assert [(row["status"], row["amount"]) for row in tables["payments"]] == [("charged", "5.00")]
    assert [row["type"] for row in tables["events"]][-1] == "order_shipped"
    assert list(inside("tables", "--table", "payments", "--json").json()) == ["payments"]

    start(inside, "json-2")
    answer = inside("cancel", "json-2", "--json").json()
    assert (answer["state"], answer["order_id"]) == ("cancelled", "json-2")
    both = {("json-1", "shipped"), ("json-2", "cancelled")}
    wait_until(lambda: listed(inside), lambda found: both <= found, what="the list, which lags behind", timeout=10)
    assert "json-1" not in [row["order_id"] for row in inside("list", "--state", "cancelled", "--json").json()]
    assert len(inside("list", "--limit", "1", "--json").json()) == 1
    for never in ("validated", "packed"):
        answer = inside("list", "--state", never)
        assert answer.status == 2
        assert f"no order is listed as {never}" in answer.err


def listed(run: Command) -> set[tuple[str, str]]:
    return {(row["order_id"], row["state"]) for row in run("list", "--json").json()}


def test_each_request_can_be_sent_as_a_signal(inside: Command) -> None:
    start(inside, "signal-1")
    until_state(inside, "signal-1", "awaiting_review")
    answer = inside("update-address", "signal-1", "--address", ELSEWHERE, "--signal")
    assert answer.says("sent update_address to order signal-1")
    assert inside("approve", "signal-1", "--signal", "--json").json()["signal"] == "approve_order"
    assert until_state(inside, "signal-1", "shipped")["status"]["address"]["city"] == "Temp"
    start(inside, "signal-2")
    assert inside("cancel", "signal-2", "--signal").says("sent cancel_order")
    until_state(inside, "signal-2", "cancelled")


def test_late_repeated_and_unknown_requests_are_refused(inside: Command) -> None:
    start(inside, "no-1")
    assert start(inside, "no-1").refuses("order no-1 exists already")
    inside("approve", "no-1")
    until_state(inside, "no-1", "shipped")
    for late in (["approve"], ["cancel"], ["update-address", "--address", ELSEWHERE], ["cancel", "--signal"]):
        assert inside(late[0], "no-1", *late[1:]).refuses("too late: order no-1 ")
    assert start(inside, "no-1").refuses("order no-1 exists already")  # for ever
    for unknown in (["approve"], ["cancel"], ["update-address", "--address", ELSEWHERE], ["status"]):
        assert inside(unknown[0], "nobody", *unknown[1:]).refuses("there is no order nobody")
    assert inside("approve", "nobody", "--signal").refuses("there is no order nobody")


def test_a_second_approval_is_refused(inside: Command) -> None:
    start(inside, "no-2", "--approve")
    answer = inside("approve", "no-2")
    assert answer.refuses("already approved") or answer.refuses("too late")


def test_a_payment_of_zero_is_shown(inside: Command) -> None:
    free = '[{"name": "sample", "qty": 1, "price": 0}]'
    inside("start", "free", "pay-free", "--items", free, "--address", ADDRESS, "--approve")
    until_state(inside, "free", "shipped")
    assert inside("tables", "free", "--table", "payments").says(" 0.00 ")


def test_watching_uses_one_database_connection(inside: Command, shop: Addresses) -> None:
    start(inside, "watched")
    engine = connect(shop.database_url)
    address = make_url(shop.database_url).update_query_dict({"application_name": "watch"})
    environment = {**os.environ, "DATABASE_URL": address.render_as_string(hide_password=False)}
    watch = subprocess.Popen(
        [sys.executable, "-m", "order_lifecycle", "status", "watched", "--watch"],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    seen: set[tuple[int, datetime]] = set()
    try:

        def times() -> int:
            with engine.connect() as view:
                looks = "SELECT pid, query_start FROM pg_stat_activity WHERE application_name = 'watch'"
                seen.update((row.pid, row.query_start) for row in view.execute(text(looks)))
            return len({at for _, at in seen})

        wait_until(times, lambda count: count >= 5, what="five statements of `status --watch`", timeout=20)
        inside("cancel", "watched")
        assert "order watched: cancelled" in watch.communicate(timeout=20)[0]
    finally:
        watch.kill()
        engine.dispose()
    assert len({pid for pid, _ in seen}) == 1


def test_doctor_finds_the_servers_and_the_workers(inside: Command) -> None:
    found = {finding["what"]: finding["ok"] for finding in inside("doctor", "--json").json()}
    assert set(found.values()) == {True}
    assert {"PostgreSQL", "Temporal", "order worker", "shipping worker"} < set(found)
    assert inside("doctor").says("ok       Temporal")


def test_audit_names_each_violation(inside: Command, shop: Addresses, superuser_of: Callable[[Addresses], str]) -> None:
    start(inside, "audit-1", "--approve")
    until_state(inside, "audit-1", "shipped")
    engine = connect(superuser_of(shop))
    with engine.begin() as tx:
        tx.exec_driver_sql("SET LOCAL session_replication_role = replica")
        tx.exec_driver_sql("DELETE FROM events WHERE type = 'order_shipped' AND order_id = 'audit-1'")
    answer = inside("audit")
    assert answer.status == 1
    assert "order audit-1, 3: 1 charges, 0 order_shipped events" in answer.out
    assert "order audit-1, 7" not in answer.out
    with engine.begin() as tx:
        tx.exec_driver_sql("SET LOCAL session_replication_role = replica")
        tx.exec_driver_sql("UPDATE orders SET state = 'awaiting_review' WHERE id = 'audit-1'")
    violations = json.loads(inside("audit", "--json").out)["violations"]
    # Other tests share the Temporal server, and it knows orders that are not in this database.
    ours = {each["invariant"]: each["detail"] for each in violations if each["order_id"] == "audit-1"}
    assert ours[7].startswith("the row is awaiting_review, the workflow completed: `order-lifecycle repair audit-1`")
    with engine.begin() as tx:
        tx.exec_driver_sql("SET LOCAL session_replication_role = replica")
        tx.exec_driver_sql("UPDATE orders SET id = 'audit-none' WHERE id = 'audit-1'")
    violations = json.loads(inside("audit", "--json").out)["violations"]
    ours = {each["invariant"]: each["detail"] for each in violations if each["order_id"] == "audit-none"}
    assert ours[7] == "the row is awaiting_review, and Temporal knows no such order"
    engine.dispose()


def test_repair_cancels_a_terminated_order(inside: Command, shop: Addresses) -> None:
    start(inside, "torn-1")
    until_state(inside, "torn-1", "awaiting_review")
    assert inside("repair", "torn-1").refuses("nothing to repair: order torn-1 is awaiting_review")
    asyncio.run(terminate(shop, "torn-1"))
    way_out = "`order-lifecycle repair torn-1` cancels and refunds it, or ships it if it must"
    assert f"its workflow is terminated: {way_out}" in " ".join(inside("status", "torn-1").out.split())
    assert inside("cancel", "torn-1").refuses(f"too late for order torn-1: its workflow is terminated; {way_out}")
    assert f"the row is awaiting_review, the workflow terminated: {way_out}" in inside("audit").out
    assert inside("repair", "torn-1").says("repaired order torn-1: it is cancelled")
    assert inside("repair", "torn-1").refuses("nothing to repair: order torn-1 is cancelled")
    assert "torn-1" not in inside("audit").out
    assert inside("repair", "torn-0").refuses("there is no order torn-0")


async def terminate(shop: Addresses, order_id: str) -> None:
    client = await Client.connect(shop.temporal_host)
    await client.get_workflow_handle(f"order-{order_id}").terminate()


@pytest.mark.proof
def test_ctrl_c_stops_both_workers(tmp_path: Path) -> None:
    with workers(dict(os.environ), tmp_path) as (both, said):
        children = psutil.Process(both.pid).children(recursive=True)
        assert len(children) >= 2
    assert psutil.wait_procs(children, timeout=5)[1] == []
    assert said.read_text().count("stopped") == 2
