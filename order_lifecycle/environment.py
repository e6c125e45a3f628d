"""What others have set for PostgreSQL's client library, libpq, which every process of ours uses."""

from __future__ import annotations

import os
import re

# Those of libpq have no underscore, but for one.
_LIBPQ = re.compile(r"PG([A-Z]+|CONNECT_TIMEOUT)")


def libpq_variables() -> list[str]:
    """Return the names of libpq's variables that are set, such as PGSSLMODE."""
    return sorted(name for name in os.environ if _LIBPQ.fullmatch(name))


def forget_libpq() -> None:
    """Take libpq's variables away from this process and from all that it starts from now on.

    They are meant for somebody's own server. With a server of ours, PGSSLMODE=require or a
    PGSERVICE that is not there would break every connection, in whichever library. A connection's
    own parameters cannot prevent that: none overrides PGSERVICE.
    """
    for name in libpq_variables():
        del os.environ[name]


def libpq_note() -> str:
    """Return what to add to an error of a server that is somebody else's."""
    names = libpq_variables()
    return f" (set in the environment, and in force here: {', '.join(names)})" if names else ""
