"""An order's life as a picture: what took how long, what waited for what, and what failed."""

from __future__ import annotations

import io
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from temporalio.client import WorkflowHandle

from order_lifecycle.lab.history import Span, in_words, spans
from order_lifecycle.lab.pictures import BLUE, FAINT, GROUND, INK, ORANGE, PALE, RED, Picture

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

# kind: how it is drawn, and what the legend calls it. Hatching and marks tell them apart without colours.
STYLES: dict[str, tuple[dict[str, Any], str]] = {
    "step": ({"facecolor": BLUE, "edgecolor": BLUE}, "a step (activity)"),
    "retries": ({"facecolor": GROUND, "edgecolor": RED, "hatch": "xxxx"}, "failed attempts"),
    "child": ({"facecolor": PALE, "edgecolor": BLUE}, "a child workflow"),
    "wait": ({"facecolor": GROUND, "edgecolor": FAINT, "hatch": "////"}, "waiting (timer)"),
    "queued": ({"facecolor": GROUND, "edgecolor": ORANGE, "hatch": "...."}, "waits for a worker"),
}
NARROWEST = 0.006  # of the picture's width: a step of 3 ms beside a wait of a minute must still be seen
SHORT = 0.03  # s in a queue that are not worth a bar


class Timeline(Picture):
    """The picture, and the figures behind it: `spans`, and the same as a DataFrame, `frame`."""

    def __init__(self, title: str, found: list[Span]) -> None:
        self.spans = found
        super().__init__("image/png", _draw(title, found), f"Timeline of {title}: " + "; ".join(in_words(found)) + ".")

    @property
    def frame(self) -> pd.DataFrame:
        import pandas as pd

        return pd.DataFrame([asdict(span) for span in self.spans]).drop(columns="depth").round(3)


async def timeline(handle: WorkflowHandle[Any, Any]) -> Timeline:
    """The history of an order and of its child workflows, drawn on a time axis."""
    return Timeline(handle.id, await spans(handle))


def _draw(title: str, found: list[Span]) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    rows = list(dict.fromkeys(_row(span) for span in found))
    last = max([span.end or span.start for span in found], default=0.0)
    unit = max(last, 0.001)
    figure = Figure(figsize=(10, 1.5 + 0.3 * len(rows)), dpi=110, facecolor=GROUND, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(facecolor=GROUND)
    for span in found:
        _draw_span(axes, span, rows.index(_row(span)), unit)
    axes.set_yticks(range(len(rows)), ["    " * depth + name for depth, name in rows], fontsize=9, color=INK)
    for label in axes.get_yticklabels():
        label.set_horizontalalignment("left")
    axes.tick_params(axis="y", length=0, pad=150)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(-0.01 * unit, 1.14 * unit)
    axes.set_xlabel("seconds since the order was started", fontsize=9, color=INK)
    axes.tick_params(axis="x", labelsize=9, colors=INK)
    axes.grid(axis="x", color="#e4e7eb", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.set_title(title, fontsize=10, color=INK, loc="left")
    kinds = {span.kind for span in found} | {"queued" for span in found if _queued(span)}
    legend = [Patch(**style, label=label) for kind, (style, label) in STYLES.items() if kind in kinds]
    figure.legend(handles=legend, loc="outside lower right", ncols=len(STYLES), fontsize=8, frameon=False)
    file = io.BytesIO()
    figure.savefig(file, format="png", facecolor=GROUND)
    return file.getvalue()


def _draw_span(axes: Axes, span: Span, y: int, unit: float) -> None:
    def bar(kind: str, start: float, end: float) -> float:
        width = max(end - start, NARROWEST * unit)
        axes.barh(y, width, left=start, height=0.56, linewidth=0.8, **STYLES[kind][0])
        return start + width

    if span.kind in ("signal", "update"):
        axes.plot(span.start, y, marker="v" if span.kind == "signal" else "D", markersize=8, color=ORANGE)
        return
    if _queued(span):
        bar("queued", span.queued, span.start)
    end = bar(span.kind, span.start, unit if span.end is None else span.end)
    axes.annotate(_label(span), (end, y), (4, 0), textcoords="offset points", va="center", fontsize=8, color=INK)


def _row(span: Span) -> tuple[int, str]:
    return span.depth, f"{span.kind} {span.step}" if span.kind in ("signal", "update") else span.step


def _queued(span: Span) -> bool:
    return span.start - span.queued > SHORT


def _label(span: Span) -> str:
    if span.kind == "retries":
        return ""
    took = "" if span.end is None else _duration(span.end - span.start)
    attempt = f"attempt {span.attempt}" if span.attempt > 1 else ""
    return ", ".join(filter(None, [took, attempt, "" if span.outcome == "ok" else span.outcome]))


def _duration(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
