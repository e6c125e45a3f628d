"""Find and unset the environment variables of libpq, PostgreSQL's client library.

https://www.postgresql.org/docs/current/libpq-envars.html
"""

from __future__ import annotations

import os
import re

# Only one of them has an underscore.
_LIBPQ = re.compile(r"PG([A-Z]+|CONNECT_TIMEOUT)")


def libpq_variables() -> list[str]:
    """Return the names of libpq's variables that are set, such as PGSSLMODE."""
    return sorted(name for name in os.environ if _LIBPQ.fullmatch(name))


def unset_libpq_variables() -> None:
    """Remove libpq's variables from the environment of this process and of its later children.

    The user has set them for another server. With a server that this project starts,
    PGSSLMODE=require or a PGSERVICE that does not exist would break every connection. The
    parameters of a connection cannot prevent that, because none overrides PGSERVICE.
    """
    for name in libpq_variables():
        del os.environ[name]


def libpq_note() -> str:
    """Return the end of an error message that names the variables which may have caused it.

    It is empty if none is set.
    """
    names = libpq_variables()
    return f" (these variables apply here: {', '.join(names)})" if names else ""
