"""How the notebooks run as tests: their kernels see nothing of the settings of whoever runs the
tests, show no progress, behave as in JupyterLab, and end as they do there."""

from __future__ import annotations

import os

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


def stop_gracefully(self: RunningKernel) -> None:
    """nbval kills its kernels with SIGKILL."""
    self.kc.stop_channels()
    self.km.shutdown_kernel(now=False)
    del self.km


RunningKernel.execute_cell_input = execute_with_history
RunningKernel.stop = stop_gracefully
