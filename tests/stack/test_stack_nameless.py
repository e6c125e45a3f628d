"""A user ID without a name, as in a container: no entry in /etc/passwd, no home folder, an unusual umask."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.stack.lives import closed_to_others

NAMELESS = 12345
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@pytest.fixture
def folder() -> Iterator[Path]:
    """Yield a folder of that user. The folders of pytest are for root only."""
    with tempfile.TemporaryDirectory() as name:
        os.chown(name, NAMELESS, NAMELESS)
        yield Path(name)


def nameless(*umask: str) -> list[str]:
    # Python itself may be in a folder that is closed to that user.
    may_read_all = ["--inh-caps=+dac_override", "--ambient-caps=+dac_override"] if closed_to_others() else []
    become = ["setpriv", f"--reuid={NAMELESS}", "--regid=0", "--clear-groups", *may_read_all]
    return [*become, "sh", "-c", f'umask {umask[0]}; exec "$@"', "sh"] if umask else become


def environment(**more: str) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "HOME"} | more


def can_have_a_user_namespace() -> bool:
    command = [*nameless(), "unshare", "--user", "--map-user=1", "true"]
    return shutil.which("unshare") is not None and subprocess.run(command, capture_output=True).returncode == 0


@pytest.mark.proof
@pytest.mark.parametrize("umask", ["000", "777"])
def test_a_user_without_a_name_or_a_home_folder_can_start_a_stack(
    umask: str, folder: Path, up: Callable[..., Any]
) -> None:
    if not can_have_a_user_namespace():
        pytest.skip("no user namespace can be had here")
    home = folder / "home"
    for _ in range(2):  # made, and found again
        it = up(home, folder=folder, before=nameless(umask), environment=environment())
        it.addresses()
        assert {process.uids().real for process in it.processes()} == {NAMELESS}
        assert it.end() == 0
    others = [path for path in (home, *home.rglob("*")) if path.lstat().st_mode & 0o077]
    assert others == []


def test_without_a_user_namespace_the_error_says_what_to_do(folder: Path, up: Callable[..., Any]) -> None:
    (folder / "programs").mkdir()
    (folder / "programs" / "setpriv").symlink_to(str(shutil.which("setpriv")))
    it = up(folder / "home", folder=folder, before=nameless(), environment=environment(PATH=str(folder / "programs")))
    assert it.process.wait(60) == 1
    assert f"The user ID {NAMELESS} has no entry in /etc/passwd" in it.said()
    assert "libnss-wrapper" in it.said()
    assert "Traceback" not in it.said()


@pytest.mark.proof
def test_a_name_by_nss_wrapper_is_enough(folder: Path, up: Callable[..., Any]) -> None:
    library = next(Path("/usr/lib").glob("**/libnss_wrapper.so"), None)
    if library is None:
        pytest.skip("libnss-wrapper is not installed")
    (folder / "programs").mkdir()
    (folder / "programs" / "setpriv").symlink_to(str(shutil.which("setpriv")))
    (folder / "passwd").write_text(f"me:x:{NAMELESS}:0::/:/bin/sh\n")
    wrapper = {
        "LD_PRELOAD": str(library),
        "NSS_WRAPPER_PASSWD": str(folder / "passwd"),
        "NSS_WRAPPER_GROUP": "/etc/group",
        "PATH": str(folder / "programs"),
    }
    # Set by `env`, because a program that changes its user ignores it otherwise.
    settings = [f"{name}={value}" for name, value in wrapper.items()]
    before = [*nameless(), "/usr/bin/env", *settings]
    it = up(folder / "home", folder=folder, before=before, environment=environment())
    it.addresses()
    assert it.end() == 0
