"""Run Debian's PgBouncer in front of a test's PostgreSQL, without any setting that helps us."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg2
import pytest
from sqlalchemy import make_url

from tests.support.waiting import wait_until

# Few connections for many clients: whoever leaves something behind on one is noticed.
CONFIGURATION = """
[databases]
* = host=127.0.0.1 port={server}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {folder}/users.txt
pool_mode = transaction
default_pool_size = {connections}
max_client_conn = {clients}
logfile = {folder}/log
{more}
"""


@contextmanager
def pgbouncer(database_url: str, connections: int = 4, clients: int = 100, more: str = "") -> Iterator[str]:
    """Run PgBouncer in transaction mode and yield the database's address through it. `more`: further settings."""
    program = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        if os.environ.get("PGBOUNCER_TESTS") == "required":
            pytest.fail("there is no pgbouncer")
        pytest.skip("there is no pgbouncer: install it (Debian, Ubuntu: apt install pgbouncer)")
    url = make_url(database_url)
    port = a_free_port()
    with tempfile.TemporaryDirectory(prefix="pgbouncer-") as name:
        folder = Path(name)
        (folder / "users.txt").write_text(f'"{url.username}" "{url.password}"\n')
        (folder / "pgbouncer.ini").write_text(
            CONFIGURATION.format(
                server=url.port, port=port, folder=folder, connections=connections, clients=clients, more=more
            )
        )
        somebody = {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}
        if somebody:  # it refuses to be root
            for path in (folder, *folder.iterdir()):
                shutil.chown(path, "nobody", "nogroup")
        process = subprocess.Popen([program, "-q", folder / "pgbouncer.ini"], **somebody)  # type: ignore[call-overload]
        through = url.set(drivername="postgresql", port=port).render_as_string(hide_password=False)
        try:
            wait_for(through, process, folder / "log")
            yield through
        finally:
            process.terminate()
            process.wait(10)


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    def answers_while_it_runs() -> bool:
        assert process.poll() is None, f"pgbouncer ended: {log.read_text() if log.exists() else ''}"
        return answers(url)

    wait_until(answers_while_it_runs, what=f"pgbouncer to answer (it logs to {log})", timeout=20)


def answers(url: str) -> bool:
    try:
        psycopg2.connect(url, connect_timeout=5).close()
    except psycopg2.OperationalError:
        return False
    return True


def a_free_port() -> int:
    with socket.socket() as it:
        it.bind(("127.0.0.1", 0))
        return int(it.getsockname()[1])
