"""Wait for many workflows at once, and draw how many had ended at each moment."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from temporalio.client import WorkflowFailureError, WorkflowHandle

from order_lifecycle.lab.views.pictures import BACKGROUND, BLUE, DARK, Picture
from order_lifecycle.lab.waiting import LabError, wait_until

if TYPE_CHECKING:
    import pandas as pd

BAR = 20  # characters


class Throughput(Picture):
    """A picture of how many workflows had ended at each moment, and its figures.

    `frame` has a row for each workflow. `started` and `ended` are seconds since the first start.
    """

    def __init__(self, frame: pd.DataFrame) -> None:
        """Draw the picture from `frame`, whose rows are sorted by `ended`."""
        self.frame = frame
        alt = (
            "Orders that have ended, over time: "
            f"a line of steps that climbs from 0 to {len(frame)}."
        )
        super().__init__("image/png", _draw(list(frame["ended"])), alt)

    @property
    def took(self) -> float:
        """Seconds from the first start to the last end."""
        return float(self.frame["ended"].max())


async def throughput(
    handles: Sequence[WorkflowHandle[Any, Any]], timeout: float = 60.0
) -> Throughput:
    """Wait until all workflows have ended, and draw when each of them did.

    While you wait, a bar shows how many have ended.

    Args:
        handles: The workflows.
        timeout: Seconds to wait.

    Raises:
        LabError: If a workflow has not ended after `timeout`.
    """
    import pandas as pd

    ends = [asyncio.create_task(_start_and_end(handle)) for handle in handles]

    def done() -> int:
        return sum(end.done() for end in ends)

    def so_far() -> str:
        bar = f"{'█' * (BAR * done() // len(ends)):░<{BAR}}"
        return f"{len(ends)} orders to end: {bar} {done()} of {len(ends)}"

    try:
        await wait_until(lambda: done() == len(ends), so_far, timeout)
    finally:
        for end in ends:
            end.cancel()
    times = [end.result() for end in ends]
    zero = min((start for start, _ in times), default=None)
    rows = [
        [handle.id, (start - zero).total_seconds(), (end - zero).total_seconds()]
        for handle, (start, end) in zip(handles, times, strict=True)
        if zero is not None
    ]
    return Throughput(
        pd.DataFrame(rows, columns=["workflow", "started", "ended"]).sort_values("ended")
    )


async def _start_and_end(handle: WorkflowHandle[Any, Any]) -> tuple[datetime, datetime]:
    """Wait for a workflow. Return when it started and ended, by the server's clock."""
    await _wait_for_end(handle)
    described = await handle.describe()
    if described.close_time is None:
        raise LabError(f"{handle.id} has not ended")
    return described.start_time, described.close_time


async def _wait_for_end(handle: WorkflowHandle[Any, Any]) -> None:
    try:
        await handle.result()
    except WorkflowFailureError:
        return  # a failed workflow has ended, too


def _draw(ends: list[float]) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3), dpi=110, facecolor=BACKGROUND, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(facecolor=BACKGROUND)
    axes.step([0.0, *ends], range(len(ends) + 1), where="post", color=BLUE, linewidth=2)
    axes.set_xlabel("seconds since the first order was started", fontsize=9, color=DARK)
    axes.set_ylabel("orders that have ended", fontsize=9, color=DARK)
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.tick_params(labelsize=9, colors=DARK)
    axes.grid(color="#e4e7eb", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    file = io.BytesIO()
    figure.savefig(file, format="png", facecolor=BACKGROUND)
    return file.getvalue()
