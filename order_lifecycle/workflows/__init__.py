"""The workflows of an order: OrderWorkflow, and its child ShippingWorkflow."""
