"""How `make` treats settings for other installations, and packages that were installed by hand."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).parents[1]

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")

HARMFUL = {
    "PIP_USER": "1",
    "PIP_TARGET": "/no/such/folder",
    "PIP_PREFIX": "/no/such/folder",
    "PIP_ROOT": "/no/such/folder",
    "PIP_REQUIRE_VIRTUALENV": "1",
    "PIP_CONSTRAINT": "/no/such/file",
    "PIP_NO_BINARY": ":all:",
    "PIP_NO_DEPS": "1",
    "PIP_DRY_RUN": "1",
    "PYTHONPATH": "/no/such/folder",
    "PYTHONHOME": "/no/such/folder",
    "UV_CONSTRAINT": "/no/such/file",
    "UV_SYSTEM_PYTHON": "1",
    "UV_EXCLUDE_NEWER": "2001-01-01",
}
CONFIGURATION = """
[global]
index-url = https://index.example.com/simple
require-virtualenv = true
[install]
user = true
target = /no/such/folder
find-links = /a/folder of wheels
"""


def script(*lines: str, environment: dict[str, str]) -> str:
    """Return what these lines of bash print, with the parts of the Makefile that they name."""
    made = "\n".join(["define DO", "set -euo pipefail", *lines, "endef", "export DO", "do:", '\t@bash -c "$$DO"', ""])
    command = ["make", "-s", "-f", "Makefile", "-f", "-", "do"]
    done = subprocess.run(command, cwd=TOP, input=made, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_pip_gets_only_the_settings_that_reach_packages(tmp_path: Path) -> None:
    (tmp_path / "pip.conf").write_text(CONFIGURATION)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_", "MAKE"))}
    environment |= {"HOME": str(tmp_path), "PIP_CONFIG_FILE": str(tmp_path / "pip.conf"), "PIP_PROXY": "http://p:1"}
    told = script(
        "$(ONLY_THE_NETWORK)", f"keep_what_pip_needs {sys.executable}", "env", environment=environment | HARMFUL
    )
    found = dict(line.partition("=")[::2] for line in told.splitlines())
    expected = {
        "PIP_CONFIG_FILE": "/dev/null",
        "PIP_INDEX_URL": "https://index.example.com/simple",
        "PIP_FIND_LINKS": "/a/folder of wheels",
        "PIP_PROXY": "http://p:1",
    }
    assert {name: found.get(name) for name in expected} == expected
    # The machine's own pip.conf may name these, too.
    others = {name for name in found if name.startswith("PIP_")} - {*expected}
    assert others <= {"PIP_CERT", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST", "PIP_DEFAULT_TIMEOUT", "PIP_CACHE_DIR"}
    assert not {*HARMFUL} & {*found}


def checkout(folder: Path) -> Path:
    """Copy the files that `make setup` reads, and use this environment as the copy's."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt", ".ci"):
        source = TOP / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / name)
    return folder


def set_up(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", "setup"],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture
def ready() -> Path:
    """Return the file that marks the set-up of this checkout as complete."""
    mark = TOP / ".venv" / ".ready"
    if not mark.exists() or Path(sys.prefix) != TOP / ".venv":
        pytest.skip("the tests do not run in what `make setup` made")
    return mark


def test_an_installation_by_hand_is_kept(ready: Path, tmp_path: Path) -> None:
    """This works without a network, as notebooks/README.md says."""
    away = tmp_path / "ready"
    shutil.move(ready, away)
    try:
        done = set_up(TOP, PIP_INDEX_URL="http://127.0.0.1:1/", UV_DEFAULT_INDEX="http://127.0.0.1:1/", UV_OFFLINE="1")
        assert (done.returncode, done.stdout) == (0, ".venv is complete\n"), done.stderr
        assert ready.read_text().strip() == str(TOP)
    finally:
        shutil.move(away, ready)


@pytest.mark.parametrize(
    ("file", "old", "new", "reason"),
    [
        ("constraints.txt", "\nalembic==", "\nalembic==99.", "alembic is "),
        ("pyproject.toml", '    "alembic",', '    "a-package-that-is-not-there",', "a-package-that-is-not-there"),
        ("pyproject.toml", "", "", "order-lifecycle is not installed from"),
    ],
)
def test_an_incomplete_installation_is_named(file: str, old: str, new: str, reason: str, tmp_path: Path) -> None:
    copy = checkout(tmp_path)
    path = copy / file
    if old:
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))
        # Only this is different: it is installed from there.
        checker = copy / ".ci" / "is_complete.py"
        checker.write_text(checker.read_text().replace("TOP.as_uri()", repr(TOP.as_uri())))
    done = subprocess.run([sys.executable, copy / ".ci" / "is_complete.py"], capture_output=True, text=True)
    assert done.returncode == 1
    assert reason in done.stdout


LAB_WITH_A_JUPYTER_THAT_TELLS = """
mkdir -p .venv/bin
cat >.venv/bin/jupyter-lab <<'END'
#!/bin/sh
echo "HOME is $HOME"
END
chmod +x .venv/bin/jupyter-lab
make -s lab
"""


@pytest.mark.parametrize("home", ["/dev/null/home", "/proc/home", ""])
def test_make_lab_without_a_home_folder_says_where_its_files_are(home: str, tmp_path: Path) -> None:
    copy = checkout(tmp_path)
    makefile = copy / "Makefile"
    makefile.write_text(makefile.read_text().replace("lab: setup", "lab:"))
    environment = {**os.environ, "HOME": home}
    done = subprocess.run(
        ["bash", "-c", LAB_WITH_A_JUPYTER_THAT_TELLS], cwd=copy, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "may not be written, so Jupyter keeps its own files in .venv/home" in done.stdout
    assert f"HOME is {copy}/.venv/home" in done.stdout
