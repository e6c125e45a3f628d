"""Orders, and real processes that end with the test."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass

from sqlalchemy import Engine
from temporalio.client import Client, WorkflowHandle

from order_lifecycle.client import start_order
from order_lifecycle.db.store import Store
from order_lifecycle.domain import OrderResult, OrderState, Policy
from order_lifecycle.faults import Faults
from order_lifecycle.stack.child_process import ChildProcess
from order_lifecycle.workers.start import worker_command
from order_lifecycle.workflows.order import OrderWorkflow
from tests.support.orders import an_order


@dataclass
class World:
    """The servers, workers and orders of one test."""

    client: Client
    engine: Engine
    environment: dict[str, str]
    processes: ExitStack

    @property
    def store(self) -> Store:
        return Store(self.engine)

    def run(self, name: str, *arguments: str) -> ChildProcess:
        """Run `python -m` with these arguments until the end of the test."""
        return self._add(ChildProcess(name, list(arguments), self.environment))

    def worker(self, kind: str, faults: Faults | None = None) -> ChildProcess:
        """Start a worker as a user does, without waiting for it."""
        return self.run(f"{kind} worker", *worker_command(kind, faults))

    def dying_worker(self, kind: str, step: str) -> ChildProcess:
        """Start a worker that kills itself: see dying_worker.py."""
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
