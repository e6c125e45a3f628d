"""Start JupyterLab as `make lab` does, on a copy of the notebooks."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import psutil

TOP = Path(__file__).parents[2]
TOKEN = "for-this-test-only"


def _folders(folder: Path) -> dict[str, str]:
    """Return the variables for where JupyterLab keeps its open notebooks, settings and running servers."""
    return {f"JUPYTER_{kind}_DIR": str(folder / kind.lower()) for kind in ("CONFIG", "DATA", "RUNTIME")}


def _write(file: Path, settings: dict[str, Any]) -> None:
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(settings))


class Lab:
    """A running JupyterLab. `base`: its path, as JupyterHub gives one to each user."""

    def __init__(self, folder: Path, base: str = "/", theme: str = "JupyterLab Light") -> None:
        self.notebooks = folder / "notebooks"
        shutil.copytree(TOP / "notebooks", self.notebooks)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}{base}"
        options = [f"--port={port}", f"--ServerApp.base_url={base}", f"--IdentityProvider.token={TOKEN}"]
        options += ["--no-browser", "--allow-root", "--ip=127.0.0.1", "--log-level=WARN"]
        settings = folder / "config" / "lab" / "user-settings" / "@jupyterlab"
        # The tests read what they save, and JupyterLab empties a file before it writes it.
        _write(settings / "docmanager-extension" / "plugin.jupyterlab-settings", {"autosave": False})
        _write(settings / "apputils-extension" / "themes.jupyterlab-settings", {"theme": theme})
        self._log = (folder / "jupyter.log").open("w")
        self.process = subprocess.Popen(
            [Path(sys.executable).with_name("jupyter-lab"), *options, str(self.notebooks)],
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "JUPYTER_PREFER_ENV_PATH": "1", **_folders(folder)},
        )
        deadline = time.monotonic() + 60
        while not self._answers():
            assert self.process.poll() is None, (folder / "jupyter.log").read_text()
            assert time.monotonic() < deadline, "JupyterLab does not answer"
            time.sleep(0.1)  # between two questions

    def _answers(self) -> bool:
        try:
            with urlopen(f"{self.url}api?token={TOKEN}", timeout=2):
                return True
        except (URLError, OSError):
            return False

    def has_a_kernel(self, notebook: str) -> bool:
        """Return True if the browser is connected to an idle kernel for that notebook.

        JupyterLab shows the kernel as idle before that, but then does not run a cell.
        """
        with urlopen(f"{self.url}api/sessions?token={TOKEN}", timeout=10) as answer:
            kernels = [session["kernel"] for session in json.load(answer) if session["path"] == notebook]
        return any(kernel["connections"] and kernel["execution_state"] == "idle" for kernel in kernels)

    def stop(self) -> None:
        """Stop JupyterLab, and check that no kernel, and no process that a kernel started, stays behind."""
        everything = psutil.Process(self.process.pid).children(recursive=True)
        self.process.terminate()
        self.process.wait(30)
        self._log.close()
        _, alive = psutil.wait_procs(everything, timeout=30)
        assert alive == []
