"""Alembic's migrations, as the stack applies them. Importing this takes 0.4 s."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy.exc import SQLAlchemyError

from order_lifecycle.db.store import connect
from order_lifecycle.environment import libpq_note
from order_lifecycle.stack.server import StackError

MIGRATIONS = Path(__file__).parents[2] / "migrations"


def migrate(database_url: str) -> str:
    """Bring that database to the newest schema, and say what was done. Two at once take turns (see
    migrations/env.py).

    Raises StackError if the database cannot be reached, or if newer code than this has migrated it.
    """
    config = Config(attributes={"database_url": database_url})
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    engine = connect(database_url)
    try:
        newest = ScriptDirectory.from_config(config).get_heads()
        with engine.connect() as connection:
            before = MigrationContext.configure(connection).get_current_heads()
        if set(before) == set(newest):
            return f"schema {', '.join(before)} is the newest"
        command.upgrade(config, "head")
        return f"schema migrated from {', '.join(before) or 'nothing'} to {', '.join(newest)}"
    except (SQLAlchemyError, CommandError) as error:
        reason = getattr(error, "orig", None) or error  # without SQLAlchemy's links around it
        raise StackError(
            f"The database {engine.url!r} cannot be migrated: {str(reason).strip()}{libpq_note()}"
        ) from error
    finally:
        engine.dispose()
