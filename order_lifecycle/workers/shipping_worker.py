"""Run the shipping worker: `python -m order_lifecycle.workers.shipping_worker`."""

from order_lifecycle.activities.shipping import ShippingActivities
from order_lifecycle.workers.base import WorkerSpec, command
from order_lifecycle.workflows.shipping import SHIPPING_QUEUE, ShippingWorkflow

SHIPPING = WorkerSpec("shipping", SHIPPING_QUEUE, ShippingWorkflow, ShippingActivities)

if __name__ == "__main__":
    command(SHIPPING)
