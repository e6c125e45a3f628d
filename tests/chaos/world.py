"""What the tests of this folder work with: orders, and real processes that end with the test."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine
from temporalio.client import Client, WorkflowHandle

from order_lifecycle.client import start_order
from order_lifecycle.db.store import Store
from order_lifecycle.domain import Order, OrderResult, OrderState, Policy, parse_order
from order_lifecycle.faults import Faults
from order_lifecycle.stack.child_process import ChildProcess
from order_lifecycle.workers.start import worker_command
from order_lifecycle.workflows.order import OrderWorkflow

ITEMS = '[{"name": "apple", "qty": 3, "price": 0.10}, {"name": "pear", "qty": 1, "price": 19.99}]'
ADDRESS = '{"address": "575 Lake Dr.", "city": "Columbus", "state": "OH", "zipcode": "43210"}'


def an_order(order_id: str) -> Order:
    return parse_order(order_id, f"pay-{order_id}", ITEMS, ADDRESS)


async def until(look: Callable[[], Any], what: str, timeout: float = 20.0) -> Any:
    """What `look` returns, awaited if need be, as soon as it is true."""
    try:
        async with asyncio.timeout(timeout):
            while True:
                seen = look()
                seen = await seen if inspect.isawaitable(seen) else seen
                if seen:
                    return seen
                await asyncio.sleep(0.02)  # between two looks
    except TimeoutError:
        raise AssertionError(f"not within {timeout:g} s: {what}") from None


@dataclass
class World:
    """What a test works with."""

    client: Client
    engine: Engine
    environment: dict[str, str]
    processes: ExitStack

    @property
    def store(self) -> Store:
        return Store(self.engine)

    def run(self, name: str, *arguments: str) -> ChildProcess:
        """`python -m` so and so, until the end of the test."""
        return self._add(ChildProcess(name, list(arguments), self.environment))

    def worker(self, kind: str, faults: Faults | None = None) -> ChildProcess:
        """A worker as anybody starts it. It is not waited for."""
        return self.run(f"{kind} worker", *worker_command(kind, faults))

    def dying_worker(self, kind: str, step: str) -> ChildProcess:
        """See dying_worker.py."""
        return self.run(f"dying {kind} worker", "tests.chaos.dying_worker", kind, step)

    async def start(self, order_id: str, policy: Policy = Policy()) -> WorkflowHandle[OrderWorkflow, OrderResult]:
        return await start_order(self.client, an_order(order_id), policy)

    def events(self, order_id: str) -> list[str]:
        return [row["type"] for row in self.store.rows("events", order_id)]

    def payments(self, order_id: str) -> list[str]:
        return [row["status"] for row in self.store.rows("payments", order_id)]

    def state(self, order_id: str) -> OrderState | None:
        stored = self.store.order_states().get(order_id)
        return stored.state if stored else None

    def _add(self, process: ChildProcess) -> ChildProcess:
        self.processes.callback(lambda: process.kill() if process.alive else None)
        return process
