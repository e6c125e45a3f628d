"""Temporal and PostgreSQL for one machine: start, wait until ready, migrate, stop.

Both come as wheels, so nothing else needs to be installed. Everything listens on the loopback
interface only.
"""

from order_lifecycle.stack.server import StackError, StopRequestedError
from order_lifecycle.stack.stack import Stack
from order_lifecycle.stack.supervisor import up

__all__ = ["Stack", "StackError", "StopRequestedError", "up"]
