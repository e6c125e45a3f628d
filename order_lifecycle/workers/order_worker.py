"""Run the order worker: `python -m order_lifecycle.workers.order_worker`."""

from order_lifecycle.activities.order import OrderActivities
from order_lifecycle.workers.base import WorkerSpec, command
from order_lifecycle.workflows.order import ORDER_QUEUE, OrderWorkflow

ORDER = WorkerSpec("order", ORDER_QUEUE, OrderWorkflow, OrderActivities)

if __name__ == "__main__":
    command(ORDER)
