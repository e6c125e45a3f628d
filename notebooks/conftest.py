"""How the notebooks run as tests: their kernels see nothing of the settings of whoever runs the
tests, show no progress, behave as in JupyterLab, and end as they do there."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import nbval.kernel
from jupyter_client.manager import KernelManager
from nbval.kernel import RunningKernel

from order_lifecycle.lab.waiting import NO_PROGRESS
from order_lifecycle.settings import Settings

os.environ[NO_PROGRESS] = "1"
for variable in [name for name in os.environ if name.lower() in Settings.model_fields]:
    del os.environ[variable]


def execute_with_history(
    self: RunningKernel, cell_input: str, allow_stdin: bool | None = None
) -> str:
    """As JupyterLab runs a cell: nbval's own way leaves In and Out empty and does not honour a `;`
    at the end."""
    return str(
        self.kc.execute(
            cell_input, store_history=True, allow_stdin=allow_stdin, stop_on_error=False
        )
    )


def without_ports(**options: Any) -> KernelManager:
    """A kernel that is spoken to by files. Otherwise the manager looks for five free ports, and the
    kernel takes them half a second later: meanwhile the servers of a notebook beside it may have
    taken one, and the kernel ends before it has begun."""
    folder = Path(tempfile.mkdtemp(prefix="kernel-"))
    return KernelManager(transport="ipc", ip=str(folder / "socket"), **options)


def stop_gracefully(self: RunningKernel) -> None:
    """nbval kills its kernels with SIGKILL."""
    self.kc.stop_channels()
    folder = Path(self.km.ip).parent
    self.km.shutdown_kernel(now=False)
    del self.km
    shutil.rmtree(folder)


nbval.kernel.KernelManager = without_ports
RunningKernel.execute_cell_input = execute_with_history
RunningKernel.stop = stop_gracefully
