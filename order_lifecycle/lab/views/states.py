"""Draw the states of an order, with the current one highlighted."""

from __future__ import annotations

from order_lifecycle.domain import MOVES, OrderState
from order_lifecycle.lab.views.pictures import BACKGROUND, BLUE, DARK, GREY, PALE_BLUE, Picture
from order_lifecycle.lab.waiting import LabError

MAIN_PATH = [OrderState.RECEIVED, *(after for _, after in MOVES.values())]
BOX, GAP, HEIGHT, TOP, LEFT, LOWER_ROW = 92, 16, 42, 40, 12, 138


def state_diagram(state: str | None = None) -> Picture:
    """Draw all states and the moves between them.

    Args:
        state: The current state, which is filled, bold and has an arrow.

    Raises:
        LabError: If there is no such state.
    """
    try:
        now = None if state is None else OrderState(state)
    except ValueError:
        raise LabError(
            f"there is no state {state!r}: choose one of {', '.join(OrderState)}"
        ) from None
    place = {each: (LEFT + number * (BOX + GAP), TOP) for number, each in enumerate(MAIN_PATH)}
    cancelled = place[OrderState.AWAITING_REVIEW][0]
    failed = place[OrderState.PACKED][0] - BOX - GAP
    place |= {OrderState.CANCELLED: (cancelled, LOWER_ROW), OrderState.FAILED: (failed, LOWER_ROW)}
    width = 2 * LEFT + len(MAIN_PATH) * (BOX + GAP) - GAP
    alt = f"The states of an order: {' → '.join(MAIN_PATH)}"
    alt += "; until dispatched also → cancelled or → failed."
    alt += f" Now: {now}." if now else ""
    body = [
        _arrow(place[a][0] + BOX, TOP + HEIGHT / 2, place[b][0], TOP + HEIGHT / 2)
        for a, b in MOVES.values()
    ]
    # From these states an order can be cancelled or fail. One bracket replaces two arrows each.
    last = place[OrderState.PACKED][0] + BOX
    body.append(f'<path d="M{LEFT} 90 v8 H{last} v-8" fill="none" stroke="{GREY}"/>')
    body += [_arrow(x + BOX / 2, 98, x + BOX / 2, LOWER_ROW) for x in (cancelled, failed)]
    body.append(
        _text(cancelled + BOX / 2 - 8, 121, "cancel, or no review in time", GREY, anchor="end")
    )
    body.append(_text(failed + BOX / 2 + 8, 121, "a step fails for good", GREY, anchor="start"))
    for each, (x, y) in place.items():
        body.append(_box(each, x, y, each is now))
    return Picture(
        "image/svg+xml",
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="202"'
        f' viewBox="0 0 {width} 202" role="img"'
        f' font-family="sans-serif" font-size="12"><title>{alt}</title>'
        f'<rect width="{width}" height="202" rx="6" fill="{BACKGROUND}"/>{"".join(body)}</svg>',
        alt,
    )


def _box(state: OrderState, x: float, y: float, now: bool) -> str:
    ends = state not in [before for before, _ in MOVES.values()]
    fill, ink = (BLUE, BACKGROUND) if now else (PALE_BLUE, DARK)
    box = (
        f'<rect x="{x}" y="{y}" width="{BOX}" height="{HEIGHT}" rx="{21 if ends else 5}"'
        f' fill="{fill}" stroke="{BLUE}"/>'
    )
    lines = state.replace("_", " ").split(" ")
    first = y + HEIGHT / 2 + 4 - 7 * (len(lines) - 1)
    text = "".join(
        _text(x + BOX / 2, first + 14 * number, line, ink, bold=now)
        for number, line in enumerate(lines)
    )
    return (
        box
        + text
        + (_text(x + BOX / 2, y - 8, "▼ now", BLUE, bold=True) if now and y == TOP else "")
        + (
            _text(x + BOX / 2, y + HEIGHT + 13, "▲ now", BLUE, bold=True)
            if now and y != TOP
            else ""
        )
    )


def _text(
    x: float, y: float, text: str, ink: str, *, anchor: str = "middle", bold: bool = False
) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" fill="{ink}"{weight}>{text}</text>'


def _arrow(x1: float, y1: float, x2: float, y2: float) -> str:
    head = f"M{x2:g} {y2:g} l-6 -3.5 v7 z" if y1 == y2 else f"M{x2:g} {y2:g} l-3.5 -6 h7 z"
    return (
        f'<path d="M{x1:g} {y1:g} L{x2:g} {y2:g}" stroke="{DARK}"/><path d="{head}" fill="{DARK}"/>'
    )
