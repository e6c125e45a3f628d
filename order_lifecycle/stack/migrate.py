"""Apply Alembic's migrations to the stack's database. Importing this module takes 0.4 s."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import make_url
from sqlalchemy.exc import SQLAlchemyError

from order_lifecycle.db.store import connect
from order_lifecycle.db.url import without_secrets
from order_lifecycle.environment import libpq_note
from order_lifecycle.stack.errors import StackError

DUPLICATE_TABLE = "42P07"
MIGRATIONS = Path(__file__).parents[2] / "migrations"


def unknown_schema(found: Collection[str]) -> str | None:
    """Say what is wrong with a database whose `alembic_version` has these versions, and what to do.

    Return None if this project knows them all, so that `migrate` can go on from them.
    """
    if not MIGRATIONS.exists():
        return None  # the package was installed without its migrations: nothing to compare with
    script = ScriptDirectory(str(MIGRATIONS))
    known = {revision.revision for revision in script.walk_revisions()}
    unknown = sorted(set(found) - known)
    if not unknown:
        return None
    newest = max(known)
    if all(re.fullmatch(r"\d{4}", version) and version > newest for version in unknown):
        return (
            f"was migrated by a newer version of this project (schema {', '.join(unknown)}; this "
            f"version knows the schemas up to {newest}): update this project, or use another "
            "database"
        )
    return (
        f"is another project's: its alembic_version says {', '.join(unknown)}, which this project "
        "does not know. Give this project a database of its own"
    )


def outdated_schema(found: Collection[str]) -> str | None:
    """Say that the schema is not the newest, and what to do. Return None if it is the newest."""
    if not MIGRATIONS.exists():
        return None
    newest = ScriptDirectory(str(MIGRATIONS)).get_heads()
    if set(found) == set(newest):
        return None
    return (
        f"has the schema {', '.join(found)}, and the newest is {', '.join(newest)}: "
        "run `alembic upgrade head`"
    )


def migrate(database_url: str, owner_url: str | None = None) -> str:
    """Migrate a database to the newest schema, and return one line that says what was done.

    Two migrations at once take turns (see migrations/env.py).

    Args:
        database_url: The database as the application connects to it. Its role gets the rights that
            an application needs (see db/roles.py).
        owner_url: The same database for the role that owns the tables. The migrations run as that
            role.

    Raises:
        StackError: If the database cannot be reached, or a newer version of this project or
            another project has migrated it.
    """
    urls = {"database_url": database_url, "database_owner_url": owner_url}
    config = Config(attributes=urls)
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    engine = connect(owner_url or database_url)
    try:
        newest = ScriptDirectory.from_config(config).get_heads()
        with engine.connect() as connection:
            before = MigrationContext.configure(connection).get_current_heads()
        if trouble := unknown_schema(before):
            raise StackError(f"The database {without_secrets(engine.url)} {trouble}.")
        same_role = engine.url.username == make_url(database_url).username
        if set(before) == set(newest) and same_role:
            return f"schema {', '.join(before)} is the newest"
        command.upgrade(config, "head")
        if set(before) == set(newest):
            return f"schema {', '.join(before)} is the newest"
        return f"schema migrated from {', '.join(before) or 'nothing'} to {', '.join(newest)}"
    except (SQLAlchemyError, CommandError) as error:
        reason = getattr(error, "orig", None) or error  # the driver's own error, if it has one
        if getattr(reason, "pgcode", None) == DUPLICATE_TABLE:
            raise StackError(
                f"The database {without_secrets(engine.url)} is another project's: a table of it "
                f"has the name of one of ours ({str(reason).strip()}). Give this project a "
                "database of its own."
            ) from error
        raise StackError(
            f"The database {without_secrets(engine.url)} cannot be migrated: "
            f"{str(reason).strip()}{libpq_note()}"
        ) from error
    finally:
        engine.dispose()
