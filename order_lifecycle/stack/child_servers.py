"""Start servers in child processes: a whole stack, or a second Temporal server."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from typing import Literal

from pydantic import ValidationError

from order_lifecycle.environment import unset_libpq_variables
from order_lifecycle.settings import OUR_TEMPORAL_SERVERS, Addresses, Settings
from order_lifecycle.stack.child_process import ChildProcess
from order_lifecycle.stack.errors import StackError

# The module and the arguments for a stack that keeps nothing and prints its addresses as JSON.
STACK = ("order_lifecycle", "up", "--ephemeral", "--json", "--lifeline")
# What `publish` sets in the environment.
ADDRESSES = (
    "TEMPORAL_HOST",
    "DATABASE_URL",
    "DATABASE_OWNER_URL",
    "TEMPORAL_UI_URL",
    OUR_TEMPORAL_SERVERS,
)


def read_addresses(stack: ChildProcess) -> Addresses:
    """Wait until a stack is ready, and return the addresses of its servers.

    Raises:
        WaitError: If the stack does not start.
        StackError: If its first line is not the addresses. Then this kills the stack.
    """
    line = stack.first_line(timeout=60)
    try:
        return Addresses.model_validate_json(line)
    except ValidationError:
        stack.kill()
        raise StackError(
            "the first line of the servers should be their addresses as JSON, but it is "
            f"{line!r}. Does something in this Python print when it starts "
            "(sitecustomize.py, a .pth file)? The end of the servers' log:\n"
            f"{stack.tail()}"
        ) from None


def publish(addresses: Addresses, settings: Settings) -> None:
    """Let this process, and every process that it starts from now on, use these servers.

    Args:
        addresses: The addresses of the stack.
        settings: The settings that the stack was started with. A server that they name is not ours.
    """
    if not settings.database_url:
        unset_libpq_variables()
    if not settings.temporal_host:
        remember_as_ours(addresses.temporal_host)
    os.environ["TEMPORAL_HOST"] = addresses.temporal_host
    os.environ["DATABASE_URL"] = addresses.database_url
    if addresses.database_owner_url:  # for `alembic`; workers do not get it
        os.environ["DATABASE_OWNER_URL"] = addresses.database_owner_url
    if addresses.ui_url:
        os.environ["TEMPORAL_UI_URL"] = addresses.ui_url


def remember_as_ours(temporal_host: str) -> None:
    """Let this process, and every process that it starts, know that this server is ours.

    `Settings.temporal_is_ours` says what that changes.
    """
    os.environ[OUR_TEMPORAL_SERVERS] = (
        f"{os.environ.get(OUR_TEMPORAL_SERVERS, '')} {temporal_host}".strip()
    )


@contextmanager
def separate_stack() -> Iterator[Addresses]:
    """Run a stack of its own even if the settings name servers, and publish its addresses.

    At the end the stack is stopped, and the environment and the current folder are restored.

    Raises:
        WaitError: If the stack does not start.
        StackError: If its first line is not the addresses.
    """
    environment = dict(os.environ)
    for name in environment:
        if name.lower() in Settings.model_fields:
            del os.environ[name]
    try:
        with tempfile.TemporaryDirectory() as without_dotenv, chdir(without_dotenv):
            stack = ChildProcess("stack", [*STACK])
            try:
                addresses = read_addresses(stack)
                publish(addresses, Settings())
                yield addresses
            finally:
                stack.stop()
    finally:
        os.environ.clear()
        os.environ.update(environment)


class SecondServer:
    """A second Temporal server: one that can skip time, or one with its default settings."""

    def __init__(
        self,
        kind: Literal["time-skipping", "as-shipped"],
        process_type: type[ChildProcess] = ChildProcess,
    ) -> None:
        """Start the server, and wait until it is ready. Raise as `ChildProcess.first_line` does."""
        self._kind = kind
        self.process = process_type(f"{kind} server", ["order_lifecycle.stack.second_server", kind])
        self.temporal_host = self.process.first_line(timeout=60).strip()
        remember_as_ours(self.temporal_host)

    def stop(self) -> None:
        """Stop the server, and wait until it has ended."""
        self.process.stop()

    def __repr__(self) -> str:
        return f"<{self._kind} Temporal at {self.temporal_host}>"
