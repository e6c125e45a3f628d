"""Refuse a migration that deletes rows, unless the caller confirms it."""

from __future__ import annotations

from alembic import context
from alembic.operations import Operations
from alembic.util import CommandError
from sqlalchemy import func, select, table

OPTION = "delete-orders"


def require_consent(op: Operations, *tables: str) -> None:
    """Stop the migration if one of these tables has rows.

    `alembic -x delete-orders=yes downgrade base` confirms that the rows may be deleted. A script
    for later (`--sql`) always needs this option, because rows cannot be counted in advance.

    Raises:
        CommandError: A table has rows, or this is a script, and the option is missing.
    """
    if context.get_x_argument(as_dictionary=True).get(OPTION) == "yes":
        return
    next_step = f"Make a backup with pg_dump, then confirm: alembic -x {OPTION}=yes …"
    if context.is_offline_mode():
        raise CommandError(
            f"this script would delete every row of {', '.join(tables)}. {next_step}"
        )
    counts = {
        name: op.get_bind().scalar(select(func.count()).select_from(table(name))) for name in tables
    }
    if any(counts.values()):
        rows = ", ".join(f"{count} of {name}" for name, count in counts.items())
        raise CommandError(f"this would delete every row: {rows}. Nothing was changed. {next_step}")
