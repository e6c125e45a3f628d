"""Say how much of the package the tests run, from what `make test` and `make proof` measured.

    .venv/bin/python .ci/covered.py begin           # make test: forget what was measured before
    .venv/bin/python .ci/covered.py passed          # make test: its tests have passed; with arguments, a part of them
    .venv/bin/python .ci/covered.py continue        # make proof: keep what was measured, if it is of the same files
    .venv/bin/python .ci/covered.py figure          # make proof: print the figure

`figure` exits with 1 if less than LEAST is covered. Without a whole `make test` of the same files before, it prints the
figure of the part that was measured, says so, and exits with 0.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]
PACKAGE, CHECKS = TOP / "order_lifecycle", TOP / "order_lifecycle/lab/checks"
MEASURED = TOP / ".coverage"
PARTS, FILES, WHOLE = "part.*", MEASURED / "files", MEASURED / "whole"
LEAST = 90.0  # percent; 97 is the goal


def main() -> int:
    """Do what the command line names, and return the exit status."""
    match sys.argv[1:]:
        case ["begin"]:
            begin()
        case ["passed", *pytest_arguments]:
            if not pytest_arguments:
                WHOLE.touch()
        case ["continue"]:
            if not FILES.exists() or FILES.read_text() != fingerprint():
                begin()
        case ["figure"]:
            return figure()
        case unknown:
            print(f"{' '.join(unknown) or 'nothing'}: say begin, passed, continue or figure", file=sys.stderr)
            return 2
    return 0


def begin() -> None:
    """Forget what was measured."""
    shutil.rmtree(MEASURED, ignore_errors=True)
    MEASURED.mkdir()
    FILES.write_text(fingerprint())


def fingerprint() -> str:
    """Return what changes when a line of the package or of its tests does."""
    found = hashlib.sha256()
    for path in sorted([*python_files(PACKAGE), *python_files(TOP / "tests"), *TOP.glob("notebooks/*.ipynb")]):
        found.update(f"{path.relative_to(TOP)}\0".encode() + path.read_bytes())
    return found.hexdigest()


def python_files(folder: Path) -> Iterator[Path]:
    """Find the modules in this folder and below."""
    return folder.rglob("*.py")


def figure() -> int:
    """Print which lines no test has run, and the percentage of the rest. Return the exit status."""
    from coverage import Coverage, CoverageData

    os.environ["PROJECT_FOLDER"] = str(TOP)
    parts = [str(path) for path in MEASURED.glob(PARTS)]
    if not parts:
        print("Coverage: nothing was measured.")
        return 0
    together = MEASURED / "together"
    together.unlink(missing_ok=True)
    # A module that nothing imports counts as well.
    every = CoverageData(str(together))
    every.add_arcs({})
    every.touch_files([str(path) for path in python_files(PACKAGE) if not path.is_relative_to(CHECKS)])
    every.write()
    coverage = Coverage(str(together), config_file=str(TOP / "pyproject.toml"))
    coverage.load()
    coverage.combine(parts, keep=True)
    percent = coverage.report()
    of = "of order_lifecycle, without the notebooks' checks, lines and branches"
    if not WHOLE.exists():
        print(f"Coverage {of}: {percent:.1f} %. This is of a part of the tests: run make test, then make proof.")
        return 0
    print(f"Coverage {of}: {percent:.1f} %. The least is {LEAST:g} %.")
    return 0 if percent >= LEAST else 1


if __name__ == "__main__":
    sys.exit(main())
