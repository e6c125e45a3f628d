"""Fixtures for all tests: a real stack for each test process, and an empty database for each test.

The settings of the user who runs the tests do not apply.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import psutil
import pytest
from pydantic import SecretStr
from sqlalchemy import NullPool, create_engine, make_url, text

from order_lifecycle.settings import Addresses, Settings

# pytest explains the asserts of test files by itself, and those of helpers if it is told before they are imported.
from tests.support import measured
from tests.support.processor_time import ProcessorTime

if TYPE_CHECKING:
    from order_lifecycle.lab.servers import LabServers

# Gone for this process and for all that it starts, notebooks' kernels included: our settings, and Temporal's own.
for variable in [name for name in os.environ if name.lower() in Settings.model_fields or name.startswith("TEMPORAL_")]:
    del os.environ[variable]
os.environ["TEMPORAL_CONFIG_FILE"] = os.devnull  # and not the one of whoever runs the tests

# How many examples Hypothesis draws for each test marked `search`: `make proof` draws all of them.
GIVEN = hypothesis.settings.get_current_profile_name()
for name, examples in (("everyday", 75), ("proof", 1000)):
    hypothesis.settings.register_profile(name, hypothesis.settings(), deadline=None, max_examples=examples)
if GIVEN in ("default", "ci"):  # none was named on the command line
    hypothesis.settings.load_profile("everyday")

# The files that take longest, the longest first: what `--processor-time` says of `make proof` and of `make test`.
LONGEST = (
    *("test_many_lives.py", "test_many_lives_in_a_container.py"),
    *("test_any_order_after_approval.py", "test_any_order_before_approval.py", "test_jupyterlab.py", "test_burst.py"),
    *("test_flood.py", "test_every_wait.py", "test_frozen.py", "test_handlers.py", "test_the_end.py", "test_kernel.py"),
    *("test_streams.py", "test_passwords.py", "test_killed_between.py", "test_roles.py", "test_quick_start.py"),
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--processor-time", metavar="FILE", help="count each test's processor time")


def pytest_configure(config: pytest.Config) -> None:
    if path := config.getoption("processor_time"):
        config.pluginmanager.register(ProcessorTime(Path(path).resolve()))
    if measured.START in os.environ:
        config.pluginmanager.register(measured.Measured())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the longest files first, because the whole run would wait for one that started last.

    pytest-xdist alone would begin with the files that have the most tests.
    """

    def turn(item: pytest.Item) -> int:
        """Return the place in the run: the longest files, then the notebooks, then the rest."""
        if item.path.name in LONGEST:
            return LONGEST.index(item.path.name)
        return len(LONGEST) + (item.path.suffix != ".ipynb")

    items.sort(key=turn)


UP = """
import json, pathlib, signal, sys
from order_lifecycle.stack.supervisor import up
# Whatever the tests were started with: nohup ignores SIGHUP, and a script's & ignores SIGINT.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)
home, options = json.loads(sys.argv[1])
sys.exit(up(home and pathlib.Path(home), **options))
"""


class Up:
    """A supervisor and its stack, in a child process with its own session and a lifeline to us."""

    def __init__(
        self,
        home: Path | None,
        folder: Path,
        before: Sequence[str] = (),
        environment: dict[str, str] | None = None,
        **options: Any,
    ) -> None:
        """Start the process.

        `folder`: its current folder, which exists. `before`: the words before its command. `options`: as for
        order_lifecycle.stack.supervisor.up.
        """
        arguments = json.dumps([home and str(home), {"as_json": True, "lifeline": True, **options}])
        self._said = folder / f"stderr-{uuid.uuid4().hex}"
        with self._said.open("wb") as stderr:
            self.process = subprocess.Popen(
                [*before, sys.executable, "-c", UP, arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                cwd=folder,
                env=environment,
                start_new_session=True,
            )
        self._seen: list[psutil.Process] = []

    def said(self) -> str:
        """Return everything that it wrote to standard error."""
        return self._said.read_text()

    def addresses(self) -> Addresses:
        """Return what it prints as soon as everything is ready."""
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line, f"it ended with {self.process.wait()}:\n{self.said()}"
        self.processes()
        return Addresses(**json.loads(line))

    def processes(self) -> list[psutil.Process]:
        """Return the process and all processes below it."""
        it = psutil.Process(self.process.pid)
        self._seen = [it, *it.children(recursive=True)]
        return self._seen

    def end(self, how: Callable[[], object] | None = None) -> int:
        """End it, and check that none of its processes is alive 5 s later.

        The lifeline ends it, if no other way is given. Returns its exit status.
        """
        (how or self.let_go)()
        status = self.process.wait(15)
        self.let_go()
        assert psutil.wait_procs(self._seen, timeout=5)[1] == []
        return status

    def let_go(self) -> None:
        """Close the lifeline, as the kernel does when we are killed."""
        assert self.process.stdin
        self.process.stdin.close()

    def signal_its_group(self, number: signal.Signals) -> None:
        """Send a signal to its process group, as a terminal does."""
        os.killpg(self.process.pid, number)


@contextmanager
def running(home: Path | None, folder: Path, **options: Any) -> Iterator[Up]:
    it = Up(home, folder, **options)
    try:
        yield it
    finally:
        it.let_go()
        if it.process.poll() is None:
            it.end()
        assert it.process.stdout
        it.process.stdout.close()


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Callable[..., Up]]:
    """Start a separate stack that ends with the test: `up(home, **options)`, as stack.supervisor.up."""
    with ExitStack() as all_of_them:
        yield lambda home, folder=tmp_path, **options: all_of_them.enter_context(running(home, folder, **options))


@pytest.fixture(scope="module")
def lab_servers() -> Iterator[LabServers]:
    """Start servers as a notebook does, for all tests of a file.

    At the end, the environment no longer has what lab.up() wrote to it.
    """
    from order_lifecycle import lab  # takes a second, which tests without a notebook's servers need not spend
    from order_lifecycle.lab import servers

    before = dict(os.environ)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(servers, "_servers", None)
            it = lab.up()
            yield it
            it.process.stop()
    finally:
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture(autouse=True)
def an_empty_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Change to an empty folder, where no `.env` and no running stack is found."""
    monkeypatch.chdir(tmp_path)


# A copy of the stack's database, made while it was empty: to copy it again takes 10 ms, to migrate a hundred.
MIGRATED = "migrated"


@pytest.fixture(scope="session")
def new_stack(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], AbstractContextManager[Addresses]]:
    """Start a stack in which `database_url` can make databases: `with new_stack() as addresses`."""

    @contextmanager
    def new() -> Iterator[Addresses]:
        with running(None, tmp_path_factory.mktemp("stack")) as supervisor:
            addresses = supervisor.addresses()
            _create(addresses, MIGRATED, template=make_url(addresses.database_url).database or "")
            yield addresses

    return new


@pytest.fixture(scope="session")
def stack(new_stack: Callable[[], AbstractContextManager[Addresses]]) -> Iterator[Addresses]:
    """Start a stack for all tests of this process.

    They share its Temporal, so each test needs order IDs of its own. `database_url` gives a test its own database.
    """
    with new_stack() as addresses:
        yield addresses


@pytest.fixture
def database_url(stack: Addresses) -> Iterator[str]:
    """Make an empty, migrated database for one test, and yield its address for the application role."""
    with _database(stack, MIGRATED) as name:
        yield with_database(stack.database_url, name)


@pytest.fixture
def owner_url(stack: Addresses, database_url: str) -> str:
    """Return the address of the same database for the role that owns its tables."""
    assert stack.database_owner_url
    return with_database(stack.database_owner_url, make_url(database_url).database)


@pytest.fixture(scope="session")
def superuser_of() -> Callable[[Addresses], str]:
    """Return a function that gives the address of a stack's database for the superuser."""
    return superuser


@pytest.fixture(scope="session")
def admin_url(stack: Addresses) -> str:
    """Return the address of the stack's PostgreSQL for its superuser, who may do everything."""
    return with_database(superuser(stack), "postgres")


@pytest.fixture
def superuser_url(admin_url: str, database_url: str) -> str:
    """Return the address of the test's database for the server's superuser."""
    return with_database(admin_url, make_url(database_url).database)


@pytest.fixture
def bare_database_url(stack: Addresses) -> Iterator[str]:
    """Make a database without tables for one test, and yield its address for the owner, the only role here."""
    assert stack.database_owner_url
    with _database(stack, "template0") as name:
        yield with_database(stack.database_owner_url, name)


def with_database(url: str, name: str | None) -> str:
    return make_url(url).set(database=name).render_as_string(hide_password=False)


def superuser(stack: Addresses) -> str:
    """Return the address of a stack's database for the superuser. Only tests and the stack read that password."""
    password = Path(stack.home, "password.superuser").read_text()
    url = make_url(stack.database_url).set(username="postgres", password=password)
    return url.render_as_string(hide_password=False)


@pytest.fixture(params=["cached", pytest.param("replayed", marks=pytest.mark.proof)], scope="module")
def cache(request: pytest.FixtureRequest) -> int:
    """Return how many workflows a worker keeps in memory.

    With none, each task replays the order's whole history, as after the death of a worker.
    """
    return 0 if request.param == "replayed" else 1000  # the default of the SDK


@pytest.fixture
def settings(stack: Addresses, database_url: str) -> Settings:
    """Return settings for the stack's Temporal and a database for one test."""
    return Settings(
        temporal_host=stack.temporal_host, temporal_ui_url=stack.ui_url, database_url=SecretStr(database_url)
    )


@pytest.fixture
def environment(settings: Settings) -> dict[str, str]:
    """Return the same settings as variables for a child process."""
    assert settings.temporal_host
    assert settings.database_url
    addresses = {
        "TEMPORAL_HOST": settings.temporal_host,
        "TEMPORAL_UI_URL": settings.temporal_ui_url or "",
        "DATABASE_URL": settings.database_url.get_secret_value(),
    }
    return {**os.environ, **addresses}


@contextmanager
def _database(stack: Addresses, template: str) -> Iterator[str]:
    name = f"test_{uuid.uuid4().hex}"
    _create(stack, name, template)
    yield name
    _administer(stack, f"DROP DATABASE {name} WITH (FORCE)")


def _create(stack: Addresses, name: str, template: str) -> None:
    """Copy a database and set its privileges, because a copy does not have those of its template."""
    _administer(stack, f"CREATE DATABASE {name} TEMPLATE {template} OWNER orders_owner")
    _administer(stack, f"REVOKE TEMPORARY ON DATABASE {name} FROM PUBLIC")


def _administer(stack: Addresses, statement: str) -> None:
    admin = with_database(superuser(stack), "postgres")
    with create_engine(admin, isolation_level="AUTOCOMMIT", poolclass=NullPool).connect() as connection:
        connection.execute(text(statement))
