"""What is wrong with the database, in a line for whoever can mend it."""

from __future__ import annotations

from sqlalchemy.exc import DBAPIError, OperationalError

UNDEFINED_TABLE = "42P01"
NO_TABLES = "has no such tables yet: run `alembic upgrade head`"


def trouble(error: DBAPIError) -> str:
    """What comes after the name of the database: "does not answer: …", for example."""
    if getattr(error.orig, "pgcode", None) == UNDEFINED_TABLE:
        return NO_TABLES
    first_line = str(error.orig).strip().partition("\n")[0]
    does = "does not answer" if isinstance(error, OperationalError) else "says no"
    return f"{does}: {first_line}"
