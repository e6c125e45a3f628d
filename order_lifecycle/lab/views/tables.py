"""Show the tables orders, payments and events as pandas DataFrames."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from order_lifecycle.db.models import Base
from order_lifecycle.db.store import Store, connect
from order_lifecycle.domain import Address
from order_lifecycle.lab.servers import running_servers
from order_lifecycle.lab.waiting import LabError
from order_lifecycle.visible import visible

if TYPE_CHECKING:
    import pandas as pd
    from sqlalchemy import Engine

TABLES = ("orders", "payments", "events")
# Times differ at every run. An event's `step` is only its type, sometimes with a number.
HIDDEN_COLUMNS = {"created_at", "updated_at", "ts", "step"}


def table(name: str, order_id: str | None = None, *, raw: bool = False) -> pd.DataFrame:
    """Return the rows of a table, oldest first.

    Times and generated IDs are left out, and JSON is shown as text. So the result is the same at
    every run.

    Args:
        name: orders, payments or events.
        order_id: Show only the rows of this order.
        raw: Return every column as the database has it.

    Raises:
        LabError: If there is no such table.
    """
    import pandas as pd  # imported here because it takes half a second

    pd.set_option("display.max_colwidth", None)  # show addresses and reasons in full
    if name not in TABLES:
        raise LabError(f"there is no table {name!r}: choose one of {', '.join(TABLES)}")
    rows = store().rows(name, order_id)
    columns = [column.name for column in Base.metadata.tables[name].columns]
    if raw:
        return pd.DataFrame(rows, columns=columns)
    kept = [
        column
        for column in columns
        if column not in HIDDEN_COLUMNS and (name, column) != ("events", "id")
    ]
    return pd.DataFrame(
        [{column: _cell(row[column]) for column in kept} for row in rows], columns=kept
    )


def changes(before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    """Return `after` with each changed cell as "old → new" and each new row marked as new.

    The first column identifies a row.
    """
    key = after.columns[0]
    old = {row[key]: row for row in before.to_dict("records")}
    marked = []
    for row in after.to_dict("records"):
        was = old.get(row[key])
        new = {
            name: value if not was or value == was[name] else f"{was[name]} → {value}"
            for name, value in row.items()
        }
        marked.append({"change": "new" if not was else "" if new == row else "changed", **new})
    return type(after)(marked, columns=["change", *after.columns])


def state_of(order_id: str) -> str | None:
    """Return the state in the order's row, or None if there is no row."""
    rows = store().rows("orders", order_id)
    return str(rows[0]["state"]) if rows else None


def store() -> Store:
    """Return the store of this notebook's database."""
    return _store(running_servers().database_url)


def owner_engine() -> Engine:
    """Return an engine for the role that owns the tables. Checks make and drop tables with it."""
    servers = running_servers()
    return _store(servers.database_owner_url or servers.database_url).engine


@cache
def _store(database_url: str) -> Store:
    return Store(connect(database_url, pool_size=2, long_transactions=True))


def _cell(value: Any) -> Any:
    """Return a value as a cell shows it: in text, every hidden character is an escape."""
    readable = _as_text(value)
    return visible(readable) if isinstance(readable, str) else readable


def _as_text(value: Any) -> Any:
    """Return JSON as a short text, and any other value as it is."""
    if isinstance(value, list):
        return ", ".join(f"{item['qty']} × {item['name']} at {item['price']}" for item in value)
    if not isinstance(value, dict):
        return value
    if {"address", "city"} <= value.keys() <= Address.model_fields.keys():
        return ", ".join(value[field] for field in Address.model_fields if field in value)
    parts = ((key, _as_text(part)) for key, part in value.items() if key != "run_id")
    return ", ".join(
        part if key in ("address", "reason") else f"{key} {part}" for key, part in parts
    )
