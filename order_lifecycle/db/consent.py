"""Ask before a migration destroys rows."""

from __future__ import annotations

from alembic import context
from alembic.operations import Operations
from alembic.util import CommandError
from sqlalchemy import func, select, table

WORD = "delete-orders"


def require_consent(op: Operations, *tables: str) -> None:
    """Refuse to go on if one of these tables has rows and nobody said that they may be lost.

    Whoever means it says so: `alembic -x delete-orders=yes downgrade base`. A script that is
    written for somebody else to run (`--sql`) is written with that option or not at all, since
    nobody can count rows while it is written. Raises CommandError, with the number of rows.
    """
    if context.get_x_argument(as_dictionary=True).get(WORD) == "yes":
        return
    way_out = f"make a backup with pg_dump, then say that you mean it: alembic -x {WORD}=yes …"
    if context.is_offline_mode():
        raise CommandError(f"this script would delete every row of {', '.join(tables)}: {way_out}")
    counts = {
        name: op.get_bind().scalar(select(func.count()).select_from(table(name))) for name in tables
    }
    if any(counts.values()):
        rows = ", ".join(f"{count} of {name}" for name, count in counts.items())
        raise CommandError(f"this would delete every row: {rows}. Nothing was changed: {way_out}")
