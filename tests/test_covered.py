"""The coverage figure that `make proof` prints after `make test` and `make proof` have measured."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).parents[1]
RUN = "import half; half.is_even(2)"
HALF = "def is_even(number):\n    if number % 2 == 0:\n        return True\n    return False\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Make a project with our configuration, and a package of two modules, of which the tests import one."""
    (tmp_path / ".ci").mkdir()
    for name in ("pyproject.toml", ".ci/covered.py"):
        shutil.copy(TOP / name, tmp_path / name)
    package = tmp_path / "order_lifecycle"
    package.mkdir()
    (package / "half.py").write_text(HALF)
    (package / "nobody_imports_it.py").write_text("print()\n")
    return tmp_path


def covered(project: Path, *arguments: str) -> tuple[int, str]:
    script = [sys.executable, str(project / ".ci/covered.py"), *arguments]
    done = subprocess.run(script, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


def run(project: Path, program: str = RUN) -> None:
    """Run a program as `make test` starts pytest, but in another folder than the project's."""
    measured = {
        "PROJECT_FOLDER": str(project),
        "COVERAGE_PROCESS_START": str(project / "pyproject.toml"),
        "COVERAGE_FILE": str(project / ".coverage/part"),
        "PYTHONPATH": str(project / "order_lifecycle"),
    }
    subprocess.run([sys.executable, "-c", program], env={**os.environ, **measured}, timeout=60, check=True, cwd="/")


def test_too_little_coverage_fails_after_a_whole_make_test(project: Path) -> None:
    covered(project, "begin")
    run(project)
    covered(project, "passed")
    status, said = covered(project, "figure")
    assert status == 1
    # 3 of 5 lines and 1 of 2 branches
    assert "57.1 %. The least is 90 %" in said
    assert "nobody_imports_it.py" in said
    assert "half.py" in said


def test_the_coverage_of_a_part_of_the_tests_is_not_judged(project: Path) -> None:
    covered(project, "begin")
    run(project)
    covered(project, "passed", "-k", "store")
    status, said = covered(project, "figure")
    assert (status, "of a part of the tests" in said) == (0, True), said


def test_a_process_that_calls_os_exit_is_measured(project: Path) -> None:
    covered(project, "begin")
    run(project, f"{RUN}; import os; os._exit(0)")
    assert "half.py" in covered(project, "figure")[1]


def test_measurements_are_discarded_when_a_line_has_changed(project: Path) -> None:
    covered(project, "begin")
    run(project)
    covered(project, "passed")
    covered(project, "continue")
    assert "The least is 90 %" in covered(project, "figure")[1]
    (project / "order_lifecycle/half.py").write_text(HALF + "\n")
    covered(project, "continue")
    assert covered(project, "figure") == (0, "Coverage: nothing was measured.\n")
