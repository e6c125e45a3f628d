"""How a database's address is written for people: with nothing in it that may be a secret."""

from __future__ import annotations

from sqlalchemy import URL, make_url

# The options that are shown. Any other may have a secret as its value, or be a part of a password
# with a `?` in it, so not even its name is shown.
_SHOWN = {
    "application_name",
    "connect_timeout",
    "host",
    "port",
    "sslmode",
    "target_session_attrs",
}


def for_people(database_url: str | URL) -> str:
    """Return the address without its password and without options that may hold a secret."""
    url = make_url(database_url)
    query = {name: value for name, value in url.query.items() if name in _SHOWN}
    return url.set(query=query).render_as_string(hide_password=True)
