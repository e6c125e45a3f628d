"""How Alembic reaches the database: `alembic upgrade head` from the top folder, or the stack when it starts."""

from __future__ import annotations

from logging.config import fileConfig

from alembic import context
from alembic.util import CommandError
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from order_lifecycle.db.models import Base
from order_lifecycle.db.store import connect
from order_lifecycle.settings import Settings


def database_url() -> str:
    given = context.config.attributes.get("database_url")
    if given is not None:
        return str(given)
    settings = Settings().resolved()
    if settings.database_url is None:
        raise CommandError(
            f"no database: DATABASE_URL is not set, and no stack runs in {settings.order_lifecycle_home}. "
            "Start one with `order-lifecycle up`, or set DATABASE_URL (see .env.example)"
        )
    return settings.database_url.get_secret_value()


if context.is_offline_mode():
    # "named": with the driver's own style, every % would be doubled in the script.
    context.configure(
        dialect_name="postgresql",
        target_metadata=Base.metadata,
        literal_binds=True,
        dialect_opts={"paramstyle": "named"},
    )
    with context.begin_transaction():
        context.run_migrations()
else:
    url = database_url()
    if "database_url" not in context.config.attributes and context.config.config_file_name:
        fileConfig(context.config.config_file_name, disable_existing_loggers=False)
    engine = connect(url)
    try:
        connection = engine.connect()
    except OperationalError as error:
        raise CommandError(f"the database {engine.url!r} does not answer: {error.orig}") from error
    with connection:
        connection.execute(text("SET statement_timeout = 0"))  # a migration may take longer than an order's step
        connection.commit()
        context.configure(connection=connection, target_metadata=Base.metadata, compare_server_default=True)
        with context.begin_transaction():
            context.run_migrations()
    engine.dispose()
