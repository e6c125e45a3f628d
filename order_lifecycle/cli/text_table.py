"""Rows as a table of text, for any width, without losing a character.

A table gives way to a narrow terminal in this order. Nothing in it is cut without the mark "…".

1. Times lose their date.
2. Long columns (`WRAPPED`) take several lines, down to `NARROWEST` characters.
3. The columns of `LEAVING` go, the first one first; a line below the table names them.
4. If ids, states and money still do not fit, each row becomes a block with a line for each field.

A pipe or a file has no width: it gets one line a row, and every cell whole, whatever COLUMNS says.
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
NARROWEST = 20
LEAVING = ("updated_at", "id of the event", "created_at", "started", "ts", "order_id of one order")
MONEY = ("amount", "total")
# No id of ours is longer. In a terminal a longer one, of a foreign client, is shortened: it must
# not push the other columns out.
LONGEST_ID, SHORTENED = 64, 32
GAP = 2

Cells = dict[str, list[str]]  # the columns, each with its cells


def table(title: str, rows: Sequence[dict[str, Any]], width: int | None = None) -> str:
    """Return the rows as a table for `width` characters, or with everything if that is None."""
    heading = f"{visible(title)} ({len(rows)})"
    if not rows:
        return heading
    # An event's `step` is its type with a number, so it says nothing new to a reader.
    columns = [column for column in rows[0] if column != "step"]
    cells = {column: [visible(cell(row[column])) for row in rows] for column in columns}
    if width is None:
        return f"{heading}\n{_lines(cells)}"
    cells |= {
        column: [_shortened(text) for text in cells[column]]
        for column in columns
        if column not in WRAPPED
    }
    if _wanted(cells) > width:
        cells |= {column: texts for column in columns if (texts := _times_of_day(column, rows))}
    gone = []
    for column in _leaving(cells):
        if _needed(cells) <= width:
            break
        del cells[column]
        gone.append(column)
    if _needed(cells) > width:
        return f"{heading}\n{_blocks(rows, columns)}"
    shown = f"{heading}\n{_lines(cells, width)}"
    if gone:
        left_out = f"(too narrow for {', '.join(gone)}: a pipe and --json have everything)"
        shown += "\n" + textwrap.fill(left_out, width)
    return shown


def cell(value: Any) -> str:
    """Return a value of a row as text, whole."""
    if isinstance(value, dict):
        # JSONB keeps no order of the keys; an address reads better in its own.
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

    return (
        text if cell_len(text) <= LONGEST_ID else set_cell_size(text, SHORTENED - 1).rstrip() + "…"
    )


def _times_of_day(column: str, rows: Sequence[dict[str, Any]]) -> list[str]:
    values = [row[column] for row in rows]
    if not all(isinstance(value, datetime) for value in values):
        return []
    return [f"{value:%H:%M:%S}" for value in values]


def _leaving(cells: Cells) -> list[str]:
    """Return the columns of this table that may go, the first one first."""
    special = {
        "id of the event": "id" if "payload_json" in cells else "",
        "order_id of one order": "order_id" if len(set(cells.get("order_id", []))) == 1 else "",
    }
    if len(cells.keys() & {"payment_id", "payload_json"}) == 0:  # there it is the row's own name
        special["order_id of one order"] = ""
    leaving = [special.get(column, column) for column in LEAVING]
    return [column for column in leaving if column in cells]


def _width(column: str, texts: list[str]) -> int:
    from rich.cells import cell_len

    return max(cell_len(text) for text in [column, *texts])


def _wanted(cells: Cells) -> int:
    """Return the width of a table in which no cell takes a second line."""
    return sum(_width(*column) + GAP for column in cells.items()) - GAP


def _needed(cells: Cells) -> int:
    """Return the width of a table whose long columns take as many lines as they can."""
    narrow = (
        min(_width(*column), NARROWEST if column[0] in WRAPPED else sys.maxsize)
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
            least = min(widths[column], NARROWEST)
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
        # As Text, in which [brackets] and :colons: are what they are.
        drawn.add_row(*map(Text, row))
    total = sum(each + GAP for each in widths.values())
    console = Console(file=io.StringIO(), width=total, color_system=None, force_jupyter=False)
    with console.capture() as captured:
        console.print(drawn)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def _blocks(rows: Sequence[dict[str, Any]], columns: list[str]) -> str:
    """Return a line for each field. A terminal breaks a long one itself, and copies it whole."""
    names = max(map(len, columns))
    return "\n\n".join(
        "\n".join(f"{column:<{names}}  {visible(cell(row[column]))}".rstrip() for column in columns)
        for row in rows
    )
