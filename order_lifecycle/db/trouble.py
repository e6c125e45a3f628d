"""What is wrong with the database, in a line for whoever can mend it."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy.exc import DBAPIError, OperationalError

UNDEFINED_TABLE = "42P01"


def no_database(home: Path) -> str:
    return (
        f"no database: DATABASE_URL is not set, and no stack runs in {home}. "
        "Start one with `order-lifecycle up`, or set DATABASE_URL (see .env.example)"
    )


def trouble(error: DBAPIError) -> str:
    """What comes after the name of the database: "does not answer: …", for example."""
    if getattr(error.orig, "pgcode", None) == UNDEFINED_TABLE:
        return "has no such tables yet: run `alembic upgrade head`"
    first_line = str(error.orig).strip().partition("\n")[0]
    does = "does not answer" if isinstance(error, OperationalError) else "says no"
    return f"{does}: {first_line}"
