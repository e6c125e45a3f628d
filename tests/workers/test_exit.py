"""How a process that has used Temporal exits."""

from __future__ import annotations

import subprocess
import sys

import pytest

from order_lifecycle.settings import Addresses
from tests.support.repeats import everyday

# Processes that do what a command does. They are forked after the imports, which take longer than all the rest; each
# gets its own runtime of the SDK, and goes through the whole of Python's shutdown. Without the last moment that
# process.run gives them, 1 in 25 ends with SIGABRT.
AT_ONCE = 4
SECONDS = 25  # after which no more are started, on a slow machine
MANY = """
import os, sys, time
from temporalio.client import Client
from order_lifecycle import client
from order_lifecycle.stack import process

async def main():
    there = await Client.connect(sys.argv[1])
    return [found async for found in there.list_workflows(limit=1)]

runs, at_once, seconds = map(int, sys.argv[2:])
give_up = time.monotonic() + seconds
running, statuses = 0, []
while running or len(statuses) < runs:
    while running < at_once and running + len(statuses) < runs and time.monotonic() < give_up:
        if os.fork() == 0:
            process.run(main())
            sys.exit()
        running += 1
    if not running:
        break
    statuses.append(os.wait()[1])
    running -= 1
print(len(statuses), [status for status in statuses if status])
"""

NESTED = """
import asyncio, sys
from temporalio.client import Client
from order_lifecycle.stack import process

async def inner():
    client = await Client.connect(sys.argv[1])
    return client.namespace

async def outer():  # as a cell of a notebook, whose kernel's loop runs already
    once = process.run(inner())
    await asyncio.sleep(0)
    return once, process.run(inner())

print(asyncio.run(outer()))
"""

# What refers to itself is only found by the garbage collector.
GARBAGE = """
import gc, sys
from order_lifecycle.stack import process

class Cycle:
    def __init__(self):
        self.itself = self
    def __del__(self):
        print("collected")

gc.disable()
if sys.argv[1] == "ours":
    process.skip_final_garbage_collection()
Cycle()
"""


def run(script: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("runs", everyday(15, of=[15, 60]))
def test_a_process_with_a_client_exits_without_a_crash(stack: Addresses, runs: int) -> None:
    ran, crashed = run(MANY, stack.temporal_host, str(runs), str(AT_ONCE), str(SECONDS)).split(" ", 1)
    assert crashed == "[]"
    assert int(ran) > 10


def test_a_nested_event_loop_works(stack: Addresses) -> None:
    assert run(NESTED, stack.temporal_host) == "('default', 'default')"


def test_the_exit_does_not_wait_for_a_garbage_collection() -> None:
    assert run(GARBAGE, "Python's own end") == "collected"
    assert run(GARBAGE, "ours") == ""
