"""Run a module of this package in a process that the user's Python settings do not affect.

    python -E -P …/order_lifecycle/isolated.py order_lifecycle.workers.order_worker --lifeline

`-E` ignores every PYTHON… variable, and `-P` keeps the current folder out of the search path. So a
file random.py beside a notebook does not replace the module of the standard library.

This module imports only the standard library.
"""

from __future__ import annotations

import os
import sys

# Computed here, because this file runs as a script before the package can be imported.
_PACKAGES = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def command(module: str, *arguments: str, options: tuple[str, ...] = ()) -> list[str]:
    """Return the command that runs `module` like `python -m`, but isolated.

    `options` are further options of Python itself.
    """
    user_site = ("-s",) if sys.flags.no_user_site else ()
    return [sys.executable, "-E", "-P", *user_site, *options, __file__, module, *arguments]


def arrange_search_path() -> None:
    """Order sys.path: the standard library, this package's folder, the installed packages.

    The current folder and PYTHONPATH come last. Python still finds modules that are only there, but
    they hide no other module. This package comes from the folder that it runs from, even if another
    version of it is installed.
    """
    library = os.path.dirname(os.__file__)
    archive = f"python{sys.version_info.major}{sys.version_info.minor}.zip"
    standard = (
        os.path.join(os.path.dirname(library), archive),
        library,
        os.path.join(library, "lib-dynload"),
    )
    begin = min((sys.path.index(path) for path in standard if path in sys.path), default=0)
    installed = [path for path in sys.path[begin:] if path not in standard]
    last = sys.path[:begin]  # the current folder, and PYTHONPATH unless Python ignores it
    if sys.flags.ignore_environment:
        last += os.environ.get("PYTHONPATH", "").split(os.pathsep)
    last = [path for path in last if os.path.isabs(path)]
    first = [path for path in sys.path if path in standard]
    sys.path[:] = dict.fromkeys([*first, _PACKAGES, *installed, *last])


if __name__ == "__main__":
    arrange_search_path()
    import runpy

    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
