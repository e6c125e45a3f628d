"""Write rows as a table of text that fits any width.

If the table is too wide for the terminal, it becomes narrower in these steps, one after the other:

1. Times are shown without their date.
2. Long columns (`WRAPPED`) take several lines, down to `MIN_WRAPPED_WIDTH` characters.
3. The columns of `DROPPED_IN_ORDER` are left out, one by one. A line below the table names them.
4. If IDs, states and money still do not fit, each row becomes a block with a line for each field.

The mark "…" shows where a text is cut. A pipe or a file has no width: it gets one line a row, and
complete cells, whatever COLUMNS says.
"""

from __future__ import annotations

import io
import sys
import textwrap
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from order_lifecycle.domain import Address
from order_lifecycle.visible import visible

WRAPPED = ("items", "address_json", "payload_json")
MIN_WRAPPED_WIDTH = 20
DROPPED_IN_ORDER = (
    "updated_at",
    "id of the event",
    "created_at",
    "started",
    "ts",
    "order_id of one order",
)
MONEY = ("amount", "total")
# Our own IDs have at most 64 characters. Another client may have started an order with a longer ID:
# a terminal shows 32 characters of it, so that the other columns still fit.
LONGEST_ID, SHORTENED_WIDTH = 64, 32
GAP = 2  # characters between two columns

Cells = dict[str, list[str]]  # the cells of each column


def table(title: str, rows: Sequence[dict[str, Any]], width: int | None = None) -> str:
    """Return the rows as a table.

    Args:
        title: The heading. The number of rows follows it.
        rows: The rows, all with the same keys.
        width: The terminal's width in characters, or None to leave nothing out.
    """
    heading = f"{visible(title)} ({len(rows)})"
    if not rows:
        return heading
    # Leave out an event's `step`: it is the event's type with a number.
    columns = [column for column in rows[0] if column != "step"]
    cells = {column: [visible(cell(row[column])) for row in rows] for column in columns}
    if width is None:
        return f"{heading}\n{_lines(cells)}"
    cells |= {
        column: [_shortened(text) for text in cells[column]]
        for column in columns
        if column not in WRAPPED
    }
    if _full_width(cells) > width:
        cells |= {column: texts for column in columns if (texts := _times_of_day(column, rows))}
    dropped = []
    for column in _droppable(cells):
        if _least_width(cells) <= width:
            break
        del cells[column]
        dropped.append(column)
    if _least_width(cells) > width:
        return f"{heading}\n{_blocks(rows, columns)}"
    shown = f"{heading}\n{_lines(cells, width)}"
    if dropped:
        left_out = f"(too narrow for {', '.join(dropped)}: a pipe and --json have everything)"
        shown += "\n" + textwrap.fill(left_out, width)
    return shown


def cell(value: Any) -> str:
    """Return the complete value of a row's field as text."""
    if isinstance(value, dict):
        # JSONB does not keep the order of keys. Show an address in the order of its fields.
        fields = list(Address.model_fields)
        keys = sorted(value, key=lambda key: fields.index(key) if key in fields else -1)
        return ", ".join(cell(value[key]) for key in keys if key != "run_id")
    if isinstance(value, list):
        return "; ".join(map(cell, value))
    if isinstance(value, datetime):
        return value.isoformat(" ")
    return "" if value is None else str(value)


def _shortened(text: str) -> str:
    from rich.cells import cell_len, set_cell_size

    if cell_len(text) <= LONGEST_ID:
        return text
    return set_cell_size(text, SHORTENED_WIDTH - 1).rstrip() + "…"


def _times_of_day(column: str, rows: Sequence[dict[str, Any]]) -> list[str]:
    values = [row[column] for row in rows]
    if not all(isinstance(value, datetime) for value in values):
        return []
    return [f"{value:%H:%M:%S}" for value in values]


def _droppable(cells: Cells) -> list[str]:
    """Return the columns that may be left out, the first to leave out first."""
    special = {
        "id of the event": "id" if "payload_json" in cells else "",
        "order_id of one order": "order_id" if len(set(cells.get("order_id", []))) == 1 else "",
    }
    if len(cells.keys() & {"payment_id", "payload_json"}) == 0:  # `order_id` is the row's own ID
        special["order_id of one order"] = ""
    droppable = [special.get(column, column) for column in DROPPED_IN_ORDER]
    return [column for column in droppable if column in cells]


def _width(column: str, texts: list[str]) -> int:
    from rich.cells import cell_len

    return max(cell_len(text) for text in [column, *texts])


def _full_width(cells: Cells) -> int:
    """Return the table's width if each cell is on one line."""
    return sum(_width(*column) + GAP for column in cells.items()) - GAP


def _least_width(cells: Cells) -> int:
    """Return the table's width if the long columns are as narrow as possible."""
    narrow = (
        min(_width(*column), MIN_WRAPPED_WIDTH if column[0] in WRAPPED else sys.maxsize)
        for column in cells.items()
    )
    return sum(each + GAP for each in narrow) - GAP


def _lines(cells: Cells, width: int | None = None) -> str:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    widths = {column: _width(column, texts) for column, texts in cells.items()}
    for column in reversed(WRAPPED):
        if column in widths and width is not None:
            too_much = sum(each + GAP for each in widths.values()) - GAP - width
            least = min(widths[column], MIN_WRAPPED_WIDTH)
            widths[column] = max(widths[column] - max(too_much, 0), least)
    drawn = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for column in cells:
        drawn.add_column(
            column,
            width=widths[column],
            no_wrap=column not in WRAPPED,
            overflow="fold",
            justify="right" if column in MONEY else "left",
        )
    for row in zip(*cells.values(), strict=True):
        # Text shows [brackets] and :colons: as they are. In a str, rich reads them as markup.
        drawn.add_row(*map(Text, row))
    total = sum(each + GAP for each in widths.values())
    console = Console(file=io.StringIO(), width=total, color_system=None, force_jupyter=False)
    with console.capture() as captured:
        console.print(drawn)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def _blocks(rows: Sequence[dict[str, Any]], columns: list[str]) -> str:
    """Return a line for each field of each row.

    No line is broken here: the terminal does that itself, and then copies a long line correctly.
    """
    names = max(map(len, columns))
    return "\n\n".join(
        "\n".join(f"{column:<{names}}  {visible(cell(row[column]))}".rstrip() for column in columns)
        for row in rows
    )
