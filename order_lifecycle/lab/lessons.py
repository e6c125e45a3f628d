"""Workers for the workflows that only a lesson needs: `order_lifecycle/lessons/`."""

from __future__ import annotations

from order_lifecycle.lab.waiting import wait_here
from order_lifecycle.lab.world import Process, here


def start_lesson_worker(lesson: str) -> Process:
    """Start the worker of the module `order_lifecycle.lessons.<lesson>` in a process of its own, and wait until it
    polls its task queue. It ends when nothing refers to it any more, so give it a name. Raises LabError."""
    here()
    worker = Process(f"{lesson} worker", [f"order_lifecycle.lessons.{lesson}"])
    wait_here(lambda: "polling" in worker.tail(1000), f"the {worker.name} to poll its queue", 30, worker.last_words)
    return worker
