"""Exit with 0 if this Python's environment is complete, whoever installed it.

    .venv/bin/python .ci/is_complete.py

Complete means: the project is installed from this folder, and so is everything that it needs, in the versions that
constraints.txt names. `make setup` leaves such an environment alone, for example one that you installed from a folder
of wheels, without a network.
"""

from __future__ import annotations

import json
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from pip._vendor.packaging.requirements import Requirement
from pip._vendor.packaging.utils import canonicalize_name

TOP = Path(__file__).resolve().parents[1]
NAME, EXTRAS = "order-lifecycle", ("dev",)


def what_is_wrong() -> str | None:
    """Return why the environment is not complete, or None."""
    origin = json.loads(distribution(NAME).read_text("direct_url.json") or "{}")
    if origin.get("url") != TOP.as_uri() or not origin.get("dir_info", {}).get("editable"):
        return f"{NAME} is not installed from {TOP}"
    script = Path(sys.prefix, "bin", NAME)
    if str(Path(sys.prefix)) not in script.read_text():
        return f"{script} is made for another folder"
    pins = [Requirement(line) for line in (TOP / "constraints.txt").read_text().splitlines() if "==" in line]
    wanted = {canonicalize_name(pin.name): pin.specifier for pin in pins if pin.marker is None or pin.marker.evaluate()}
    # pyproject.toml may be newer than the metadata of the installed project.
    project = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
    lines = project["dependencies"] + [line for extra in EXTRAS for line in project["optional-dependencies"][extra]]
    todo = [part for line in lines for part in parts(line)]
    seen: set[tuple[str, str]] = set()
    while todo:
        name, extra = todo.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        installed = distribution(name)
        if name in wanted and installed.version not in wanted[canonicalize_name(name)]:
            return f"{name} is {installed.version}, and constraints.txt wants {wanted[canonicalize_name(name)]}"
        for line in installed.requires or []:
            needed = Requirement(line)
            if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                todo += parts(line)
    return None


def parts(line: str) -> list[tuple[str, str]]:
    """Return the name of a required package, once without an extra and once with each of its extras."""
    needed = Requirement(line)
    return [(canonicalize_name(needed.name), extra) for extra in ("", *needed.extras)]


def main() -> int:
    """Print what is missing or of another version, and return the exit status."""
    try:
        wrong = what_is_wrong()
    except (PackageNotFoundError, OSError) as error:
        wrong = f"not there: {error}"
    if wrong:
        print(wrong)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
