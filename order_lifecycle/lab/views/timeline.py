"""Draw an order's life on a time axis: steps, waits, signals and failed attempts."""

from __future__ import annotations

import io
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from temporalio.client import WorkflowHandle

from order_lifecycle.lab.process import LabProcess
from order_lifecycle.lab.views.attempts import failed_attempts, with_failed_attempts
from order_lifecycle.lab.views.history import Span, describe_spans, spans
from order_lifecycle.lab.views.pictures import (
    BACKGROUND,
    BLUE,
    DARK,
    GREY,
    ORANGE,
    PALE_BLUE,
    RED,
    Picture,
)
from order_lifecycle.visible import visible

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

# How each kind of span is drawn, and its name in the legend. Each has a hatching or a mark of its
# own, so that nobody needs the colours.
STYLES: dict[str, tuple[dict[str, Any], str]] = {
    "step": ({"facecolor": BLUE, "edgecolor": BLUE}, "a step (activity)"),
    "retries": ({"facecolor": BACKGROUND, "edgecolor": RED, "hatch": "xxxx"}, "failed attempts"),
    "timed out": (
        {"facecolor": BACKGROUND, "edgecolor": RED, "hatch": "----"},
        "an attempt that timed out",
    ),
    "child": ({"facecolor": PALE_BLUE, "edgecolor": BLUE}, "a child workflow"),
    "wait": ({"facecolor": BACKGROUND, "edgecolor": GREY, "hatch": "////"}, "waiting (timer)"),
    "queued": (
        {"facecolor": BACKGROUND, "edgecolor": ORANGE, "hatch": "...."},
        "waits for a worker",
    ),
}
# The mark of a span that takes no time, and its name in the legend.
MARKS = {"signal": ("v", "a signal"), "update": ("D", "an Update")}
# Most failed attempts take a few milliseconds, too short for a bar.
FAILED: dict[str, Any] = {"marker": "x", "markersize": 7, "markeredgewidth": 1.8, "color": RED}
# As a part of the axis. It makes a step of 3 ms visible beside a wait of a minute.
MIN_WIDTH = 0.006
DAY = 86400.0  # s
MIN_QUEUED = 0.03  # s; a shorter time in a task queue gets no bar


class Timeline(Picture):
    """A picture of an order's life, and its figures: `spans`, and `frame` with the same."""

    def __init__(self, title: str, found: list[Span]) -> None:
        """Draw the spans under this title."""
        self.spans = found
        alt = f"Timeline of {title}: " + "; ".join(describe_spans(found)) + "."
        from matplotlib import rc_context

        # matplotlib sets text between two dollar signs as mathematics, but an ID may have them.
        with rc_context({"text.parse_math": False}):
            picture = _draw(visible(title), found)
        super().__init__("image/png", picture, alt)

    @property
    def frame(self) -> pd.DataFrame:
        """The spans as a DataFrame, with times in seconds since the order was started."""
        import pandas as pd

        frame = pd.DataFrame([asdict(span) for span in self.spans])
        return frame.drop(columns=["depth", "workflow_id"]).round(3)


async def timeline(handle: WorkflowHandle[Any, Any], *workers: LabProcess) -> Timeline:
    """Draw the history of an order and of its child workflows on a time axis.

    Temporal's history has only the last attempt of each step. If you name the workers, the earlier
    attempts are drawn too, because the workers log them.

    Args:
        handle: The order's workflow.
        workers: The workers whose logs are read.
    """
    found = await spans(handle)
    if workers:
        began = (await handle.describe()).start_time
        found = with_failed_attempts(found, began, failed_attempts(workers))
    return Timeline(handle.id, found)


def _draw(title: str, found: list[Span]) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MultipleLocator

    rows = list(dict.fromkeys(_row(span) for span in found))
    last = max([span.end or span.start for span in found], default=0.0)
    axis_length = max(last, 0.001)
    figure = Figure(
        figsize=(10, 1.5 + 0.3 * len(rows)), dpi=110, facecolor=BACKGROUND, layout="constrained"
    )
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(facecolor=BACKGROUND)
    for span in found:
        _draw_span(axes, span, rows.index(_row(span)), axis_length)
    names = ["    " * depth + visible(name) for _, depth, name in rows]
    axes.set_yticks(range(len(rows)), names, fontsize=9, color=DARK)
    for label in axes.get_yticklabels():
        label.set_horizontalalignment("left")
    axes.tick_params(axis="y", length=0, pad=150)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(-0.01 * axis_length, 1.2 * axis_length)
    axes.set_xlabel(
        f"{'days' if last > DAY else 'seconds'} since the order was started", fontsize=9, color=DARK
    )
    if last > DAY:
        axes.xaxis.set_major_locator(MultipleLocator(DAY))
        axes.xaxis.set_major_formatter(lambda seconds, _: f"{seconds / DAY:g}")
    axes.tick_params(axis="x", labelsize=9, colors=DARK)
    axes.grid(axis="x", color="#e4e7eb", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.set_title(title, fontsize=10, color=DARK, loc="left")
    legend = _legend(found)
    figure.legend(
        handles=legend, loc="outside lower right", ncols=len(STYLES), fontsize=8, frameon=False
    )
    file = io.BytesIO()
    figure.savefig(file, format="png", facecolor=BACKGROUND)
    return file.getvalue()


def _legend(found: list[Span]) -> list[Artist]:
    """Return a legend of the kinds that are in the picture."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    kinds = {_style(span) for span in found} | {"queued" for span in found if _queued(span)}
    legend: list[Artist] = [
        Patch(**style, label=label) for kind, (style, label) in STYLES.items() if kind in kinds
    ]
    if "failed" in kinds:
        legend.append(Line2D([], [], linestyle="", label="an attempt that failed", **FAILED))
    for kind, (marker, label) in MARKS.items():
        if kind in kinds:
            legend.append(
                Line2D([], [], linestyle="", label=label, marker=marker, markersize=8, color=ORANGE)
            )
    return legend


def _draw_span(axes: Axes, span: Span, y: int, axis_length: float) -> None:
    def bar(kind: str, start: float, end: float) -> float:
        width = max(end - start, MIN_WIDTH * axis_length)
        axes.barh(y, width, left=start, height=0.56, linewidth=0.8, **STYLES[kind][0])
        return start + width

    if span.kind in MARKS:
        axes.plot(span.start, y, marker=MARKS[span.kind][0], markersize=8, color=ORANGE)
        return
    if _queued(span):
        bar("queued", span.queued, span.start)
    end = axis_length if span.end is None else span.end
    if _style(span) == "failed":
        axes.plot(end, y, **FAILED)
        end += 0.005 * axis_length
    elif span.outcome == "waiting":
        end = span.start
    else:
        end = bar(_style(span), span.start, end)
    axes.annotate(
        _label(span),
        (end, y),
        (4, 0),
        textcoords="offset points",
        va="center",
        fontsize=8,
        color=DARK,
    )


def _row(span: Span) -> tuple[str, int, str]:
    """Return what identifies the row that a span is drawn in: workflow, depth and name."""
    name = f"{span.kind} {span.step}" if span.kind in MARKS else span.step
    return span.workflow_id, span.depth, name


def _style(span: Span) -> str:
    """Return the key of STYLES or MARKS for this span, or "failed"."""
    is_an_attempt = span.kind in ("step", "attempt")
    return span.outcome if is_an_attempt and span.outcome in ("failed", "timed out") else span.kind


def _queued(span: Span) -> bool:
    """Return True if the time in the task queue is long enough for a bar."""
    return span.start - span.queued > MIN_QUEUED


def _label(span: Span) -> str:
    """Return the text after the bar: how long it took, which attempt, and how it ended."""
    if span.kind in ("retries", "attempt"):
        return ""
    took = "" if span.end is None else _duration(span.end - span.start)
    attempt = f"attempt {span.attempt}" if span.attempt > 1 else ""
    return ", ".join(filter(None, [took, attempt, "" if span.outcome == "ok" else span.outcome]))


def _duration(seconds: float) -> str:
    if seconds > DAY:
        return f"{seconds / DAY:.1f} days"
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
