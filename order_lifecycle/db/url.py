"""Show the address of a database without its secrets."""

from __future__ import annotations

from sqlalchemy import URL, make_url

# Only these options are shown. Any other option may have a secret value. Even its name may be one:
# in a password with an unescaped `?`, the part after the `?` is read as an option.
_SHOWN_OPTIONS = {
    "application_name",
    "connect_timeout",
    "host",
    "port",
    "sslmode",
    "target_session_attrs",
}


def without_secrets(database_url: str | URL) -> str:
    """Return the URL with `***` as its password, and without options that may hold a secret."""
    url = make_url(database_url)
    query = {name: value for name, value in url.query.items() if name in _SHOWN_OPTIONS}
    return url.set(query=query).render_as_string(hide_password=True)
