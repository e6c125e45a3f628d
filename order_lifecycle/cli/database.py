"""Read the rows of orders for a command."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from order_lifecycle.cli.errors import CommandError
from order_lifecycle.cli.text_table import cell
from order_lifecycle.settings import Settings, no_database

if TYPE_CHECKING:
    from order_lifecycle.db.store import Store


@contextmanager
def store_for_reading() -> Iterator[Store]:
    """Open the database that the settings name, and close it at the end of the block.

    Raises:
        CommandError: If the settings name no database, or if it cannot be read.
    """
    from sqlalchemy.exc import OperationalError, ProgrammingError

    from order_lifecycle.db.errors import describe
    from order_lifecycle.db.store import Store, connect

    settings = Settings().resolved()
    if settings.database_url is None:
        raise CommandError(no_database(settings.order_lifecycle_home))
    engine = connect(settings.database_url.get_secret_value())
    try:
        yield Store(engine)
    except (OperationalError, ProgrammingError) as error:
        raise CommandError(describe(error)) from None
    finally:
        engine.dispose()


def recent_events(store: Store, order_id: str, count: int = 5) -> list[str]:
    """Return the order's latest events, a line each. It is empty if the database cannot be read."""
    from sqlalchemy.exc import DBAPIError

    try:
        events = store.rows("events", order_id)[-count:]
    except DBAPIError:
        return []
    return [
        f"{event['ts']:%H:%M:%S}  {event['type']}  {cell(event['payload_json'])}".rstrip()
        for event in events
    ]
