"""The stack, both workers and JupyterLab with a kernel listen on the loopback interface only.

tests/stack shows that PostgreSQL admits nobody without the password.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy import make_url

from order_lifecycle.stack.child_process import ChildProcess
from order_lifecycle.workers.start import wait_until_ready, worker_command
from tests.support.waiting import wait_until

TOP = Path(__file__).parents[2]


def family(process: psutil.Process) -> list[psutil.Process]:
    return [process, *process.children(recursive=True)]


class Lab:
    """JupyterLab, started by the script of `make lab`, and one of its kernels."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        # As make hands it to bash. `exec env` starts the server, here the one of this Python.
        script = subprocess.run(
            ["make", "-s", "-f", "Makefile", "-f", "-", "print"],
            input='print:\n\t@printf "%s" "$$LAB"\n',
            env={**os.environ, "LAB_ARGS": f"--no-browser --port={port} --ServerApp.port_retries=0"},
            cwd=TOP,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert ".venv/bin/jupyter-lab" in script
        script = script.replace(".venv/bin/jupyter-lab", str(Path(sys.executable).with_name("jupyter-lab")))
        self._runtime = folder / "runtime"
        own = {"HOME": folder, "JUPYTER_RUNTIME_DIR": self._runtime, "JUPYTER_CONFIG_DIR": folder, "IPYTHONDIR": folder}
        with (folder / "lab.log").open("wb") as log:
            self._process = subprocess.Popen(
                ["bash", "-c", script],
                cwd=TOP,
                env={**os.environ, **{name: str(where) for name, where in own.items()}},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _written(self) -> list[str]:
        """Return what JupyterLab writes about itself, once the file is complete."""
        said = [path.read_text() for path in self._runtime.glob("jpserver-*.json")]
        return [text for text in said if text.rstrip().endswith("}")]

    def wait_until_ready(self) -> None:
        server = json.loads(wait_until(self._written)[0])
        self.host, self.port, self._token = server["hostname"], server["port"], server["token"]
        # That is written a moment before.
        wait_until(lambda: listening(psutil.Process(self._process.pid)))

    def ask(self, method: str, path: str, token: str | None = None) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, headers={"Authorization": f"token {token}"} if token else {})
            return connection.getresponse().status
        finally:
            connection.close()

    def start_a_kernel(self) -> None:
        assert self.ask("POST", "/api/kernels", self._token) == http.client.CREATED
        wait_until(lambda: any(len(listening(process)) >= 5 for process in self.processes()[1:]))

    def processes(self) -> list[psutil.Process]:
        return family(psutil.Process(self._process.pid))

    def end(self) -> None:
        all_of_it = self.processes()
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        self._process.wait(15)
        assert psutil.wait_procs(all_of_it, timeout=10)[1] == []


def listening(process: psutil.Process) -> list[str]:
    """Return the addresses at which the process listens, and the paths of its sockets in the file system.

    A process may have ended since it was listed, as PostgreSQL's do that serve one connection. Then there are none.
    """
    found: list[str] = []
    try:
        connections = process.net_connections("all")
    except psutil.NoSuchProcess:
        return found
    for one in connections:
        if one.family in (socket.AF_INET, socket.AF_INET6):
            if one.status == psutil.CONN_LISTEN or (one.type == socket.SOCK_DGRAM and one.laddr):
                found.append(one.laddr.ip)
        elif one.laddr:
            found.append(str(one.laddr))
    return found


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    if shutil.which("make") is None:
        pytest.skip("there is no make")
    it = Lab(tmp_path)
    try:
        it.wait_until_ready()
        yield it
    finally:
        it.end()


def test_jupyterlab_and_its_kernels_listen_on_loopback_only(lab: Lab) -> None:
    assert lab.host in ("127.0.0.1", "localhost")
    lab.start_a_kernel()
    assert {address for process in lab.processes() for address in listening(process)} == {"127.0.0.1"}
    assert lab.ask("GET", "/api/kernels") == http.client.FORBIDDEN
    assert lab.ask("GET", "/api/kernels", "wrong") == http.client.FORBIDDEN


def test_the_stack_and_the_workers_listen_on_loopback_only(up: Callable[..., Any], tmp_path: Path) -> None:
    home = tmp_path / "home"
    stack = up(home)
    addresses = stack.addresses()
    environment = {"ORDER_LIFECYCLE_HOME": str(home)}
    workers = [ChildProcess(f"{kind} worker", worker_command(kind), environment) for kind in ("order", "shipping")]
    for worker in workers:
        wait_until_ready(worker)
    servers = stack.processes()
    theirs = [process for worker in workers for process in family(psutil.Process(worker.pid))]
    # The Web UI has an address of its own, of loopback too, where no web page finds it.
    assert {address for process in servers for address in listening(process) if not address.startswith("127.")} == set()
    assert {address for process in theirs for address in listening(process)} == set()

    # The password is on no command line, and on disk for its owner's eyes only.
    secrets = {name: (home / name).read_text() for name in ("password", "password.owner", "password.superuser")}
    assert secrets["password"] == make_url(addresses.database_url).password
    for name, secret in secrets.items():
        assert [process.cmdline() for process in servers + theirs if secret in " ".join(process.cmdline())] == []
        tells = [path for path in home.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]
        also = {"stack.json"} if name != "password.superuser" else set()
        assert {path.relative_to(home).as_posix() for path in tells} == {name} | also
        assert {path.stat().st_mode & 0o777 for path in tells} == {0o600}
        assert {path.stat().st_uid for path in tells} == {os.geteuid()}
        assert [worker.name for worker in workers if secret in worker.tail(1000)] == []
    assert home.stat().st_mode & 0o777 == 0o700

    for worker in workers:
        worker.stop()
