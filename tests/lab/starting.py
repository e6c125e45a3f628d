"""The type of the fixture `start`, which starts an order for the lab's tests."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from temporalio.client import WorkflowHandle

from order_lifecycle.domain import OrderResult
from order_lifecycle.workflows.order import OrderWorkflow

Handle = WorkflowHandle[OrderWorkflow, OrderResult]
Start = Callable[..., Awaitable[Handle]]
