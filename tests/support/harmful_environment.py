"""Variables and files that a user may have for other programs, and that would harm ours."""

from __future__ import annotations

from pathlib import Path

import psycopg2
from sqlalchemy import make_url

# Each breaks a connection by libpq 17 to a server without TLS whose URL names host, port, user, password and database.
HARMFUL = {
    "PGSSLMODE": "require",
    "PGSERVICE": "no-such-service",
    "PGHOSTADDR": "192.0.2.1",
    "PGTARGETSESSIONATTRS": "standby",
    "PGCHANNELBINDING": "require",
    "PGGSSENCMODE": "require",
    "PGREQUIREAUTH": "none",
    "PGSSLNEGOTIATION": "direct",
    "PGOPTIONS": "-c no_such_option=1",
    "PGCLIENTENCODING": "no-such-encoding",
    "PGDATESTYLE": "no-such-style",
    "PGTZ": "no-such-zone",
    "PGGEQO": "no-such-value",
    "PGLOADBALANCEHOSTS": "no-such-way",
    "PGSSLMINPROTOCOLVERSION": "no-such-version",
    "PGSSLMAXPROTOCOLVERSION": "no-such-version",
    "PGSSLCERTMODE": "no-such-mode",
    "PGCONNECT_TIMEOUT": "no-such-number",
}
# The rest of those that libpq's documentation names, and some that it does not.
ALL = HARMFUL | {
    "PGMINPROTOCOLVERSION": "no-such-version",
    "PGMAXPROTOCOLVERSION": "no-such-version",
    "PGHOST": "192.0.2.1",
    "PGPORT": "1",
    "PGDATABASE": "no-such-database",
    "PGUSER": "nobody",
    "PGPASSWORD": "wrong",
    "PGPASSFILE": "/no/such/file",
    "PGSERVICEFILE": "/no/such/file",
    "PGSYSCONFDIR": "/no/such/folder",
    "PGLOCALEDIR": "/no/such/folder",
    "PGAPPNAME": "another",
    "PGREQUIRESSL": "1",
    "PGSSLCOMPRESSION": "1",
    "PGSSLCERT": "/no/such/file",
    "PGSSLKEY": "/no/such/file",
    "PGSSLROOTCERT": "/no/such/file",
    "PGSSLCRL": "/no/such/file",
    "PGSSLCRLDIR": "/no/such/folder",
    "PGSSLSNI": "0",
    "PGREQUIREPEER": "nobody",
    "PGKRBSRVNAME": "nothing",
    "PGGSSLIB": "gssapi",
    "PGGSSDELEGATION": "1",
    "PGOAUTHDEBUG": "UNSAFE",
    "PGTTY": "/dev/null",
    "PGDATA": "/no/such/folder",
    "PGSOMETHINGNEW": "1",
}
OF_TEMPORAL = {
    "TEMPORAL_CONFIG_FILE": "/no/such/temporal.toml",
    "TEMPORAL_PROFILE": "no-such-profile",
    "TEMPORAL_NAMESPACE": "no-such-namespace",
    "TEMPORAL_ADDRESS": "192.0.2.1:7233",
    "TEMPORAL_API_KEY": "a-key",
    "TEMPORAL_TLS": "true",
    "TEMPORAL_TLS_CLIENT_CERT_PATH": "/no/such/file",
    "TEMPORAL_CODEC_ENDPOINT": "http://192.0.2.1/",
}
OF_PYTHON = {
    "PYTHONOPTIMIZE": "2",
    "PYTHONIOENCODING": "ascii",
    "PYTHONUTF8": "0",
    "PYTHONSTARTUP": "/no/such/file",
    "PYTHONUSERBASE": "/no/such/folder",
    "PYTHONPYCACHEPREFIX": "/no/such/folder",
}
# They change the command that their user starts, as they are meant to, but not what it starts.
OF_DEBUGGING = {
    "PYTHONINSPECT": "1",
    "PYTHONPROFILEIMPORTTIME": "1",
    "PYTHONDEVMODE": "1",
    "PYTHONVERBOSE": "1",
    "PYTHONHASHSEED": "no-such-number",
    "PYTHONHOME": "/no/such/folder",
}
# Modules of the standard library that nothing has imported before our first line runs.
SHADOWS = ("random", "json", "logging", "secrets", "queue", "tempfile", "socket", "email", "decimal", "asyncio")


def shadow_the_standard_library(folder: Path) -> None:
    """Write files there that are named like modules of the standard library."""
    for name in SHADOWS:
        (folder / f"{name}.py").write_text(f"print('this is not the {name} that you look for')\n1 / 0\n")


def can_connect(database_url: str) -> None:
    url = make_url(database_url)
    psycopg2.connect(
        host=url.host, port=url.port, user=url.username, password=url.password, dbname=url.database
    ).close()
