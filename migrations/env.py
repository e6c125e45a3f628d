"""Connect Alembic to the database, for `alembic upgrade head` in the top folder and for a stack that starts."""

from __future__ import annotations

import sys
import time
from logging.config import fileConfig

from alembic import context
from alembic.util import CommandError
from sqlalchemy import Connection, make_url, text
from sqlalchemy.exc import OperationalError

from order_lifecycle.db import roles
from order_lifecycle.db.connection import LONG_TRANSACTION, connect
from order_lifecycle.db.models import Base
from order_lifecycle.db.url import without_secrets
from order_lifecycle.settings import Settings, no_database


def database_urls() -> tuple[str, str | None]:
    """Return the URL of the database for the application, and one for the owner of the tables if that is another role.

    Raises:
        CommandError: No database is named.
    """
    given = context.config.attributes
    if given.get("database_url") is not None:
        return given["database_url"], given.get("database_owner_url")
    settings = Settings().resolved()
    if settings.database_url is None:
        raise CommandError(no_database(settings.order_lifecycle_home))
    owner = settings.database_owner_url
    return settings.database_url.get_secret_value(), owner and owner.get_secret_value()


def wait_for_turn(connection: Connection) -> None:
    """Wait until no other migration of this database runs.

    Of two migrations at the same time, the second then finds its work done. The lock ends with the transaction, because
    a pooler may give the connection to another client afterwards. It is polled, because Ctrl-C does not interrupt a
    statement that waits for a lock.
    """
    lock = text("SELECT pg_try_advisory_xact_lock(hashtext('order_lifecycle.migrate'))")
    told = False
    while not connection.scalar(lock):
        if not told:
            print("waiting for another migration of this database to end", file=sys.stderr, flush=True)
            told = True
        time.sleep(0.1)


if context.is_offline_mode():
    # The driver's own paramstyle would double every % in the script.
    context.configure(
        dialect_name="postgresql",
        target_metadata=Base.metadata,
        literal_binds=True,
        dialect_opts={"paramstyle": "named"},
    )
    with context.begin_transaction():
        context.run_migrations()
else:
    url, owner_url = database_urls()
    if "database_url" not in context.config.attributes and context.config.config_file_name:
        fileConfig(context.config.config_file_name, disable_existing_loggers=False)
    engine = connect(owner_url or url)
    application = make_url(url).username
    try:
        connection = engine.connect()
    except OperationalError as error:
        raise CommandError(f"the database {without_secrets(engine.url)} does not answer: {error.orig}") from error
    try:
        with connection, connection.begin():
            connection.execute(LONG_TRANSACTION)
            wait_for_turn(connection)
            context.configure(connection=connection, target_metadata=Base.metadata, compare_server_default=True)
            with context.begin_transaction():
                context.run_migrations()
                if application and application != engine.url.username:
                    roles.grant(connection, application)
    finally:
        engine.dispose()
