"""Which ports a stack uses, and which servers it starts."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import inspect, make_url

from order_lifecycle.db.store import connect
from order_lifecycle.settings import Addresses, Settings
from order_lifecycle.stack.errors import StackError
from order_lifecycle.stack.home import Home
from order_lifecycle.stack.postgres import Postgres
from order_lifecycle.stack.server import Ports, stop
from order_lifecycle.stack.stack import Stack
from order_lifecycle.stack.temporal import Temporal
from tests.support.repeats import in_proof


@pytest.fixture
def occupy() -> Iterator[Callable[[int], int]]:
    """Listen at the first free port from `first` on until the test ends, as in `occupy(first)`; 0 is any port."""
    with ExitStack() as sockets:

        def listen(first: int) -> int:
            for port in range(first, first + 100):
                listener = sockets.enter_context(socket.socket())
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                with suppress(OSError):
                    listener.bind(("127.0.0.1", port))
                    listener.listen()
                    return int(listener.getsockname()[1])
            raise AssertionError(f"all in use from {first} on")

        yield listen


def free_port() -> int:
    return Ports().choose()


@pytest.mark.parametrize(("name", "option"), [("temporal_port", "--port"), ("ui_port", "--ui-port")])
def test_a_requested_port_that_is_in_use_is_named(occupy: Callable[[int], int], name: str, option: str) -> None:
    port = occupy(0)
    ports: dict[str, Any] = {name: port}
    with (
        pytest.raises(StackError, match=f"Port {port} is in use. Choose another with {option} PORT"),
        Stack(None, **ports),
    ):
        pass


def test_one_port_for_two_servers_is_refused() -> None:
    port = free_port()
    with (
        pytest.raises(StackError, match=f"cannot both have port {port}"),
        Stack(None, temporal_port=port, ui_port=port),
    ):
        pass


def test_a_stack_chooses_the_next_free_ports(occupy: Callable[[int], int], tmp_path: Path) -> None:
    # Another test's servers may have 7233 or 5434 now, and be gone before ours start.
    in_use = [occupy(first) for first in (7233, 5434)]
    ui_port = free_port()
    with Stack(tmp_path / "home", ui_port=ui_port) as addresses:
        ports = int(addresses.temporal_host.removeprefix("127.0.0.1:")), make_url(addresses.database_url).port or 0
        assert 7233 <= ports[0] < 7333
        assert 5434 <= ports[1] < 5534
        assert not {*ports} & {*in_use}
        assert addresses.ui_url == f"http://127.0.0.1:{ui_port}"


@pytest.mark.parametrize(
    ("server", "its_ports", "number"),
    [
        (lambda home, ports: Temporal(home, ports, None, None), 3, 1),
        *in_proof(*((lambda home, ports: Temporal(home, ports, None, None), 3, number) for number in (2, 3))),
        (Postgres, 1, 1),
    ],
)
def test_a_port_that_is_taken_during_the_start_is_replaced(
    occupy: Callable[[int], int], server: Callable[[Home, Ports], Temporal | Postgres], its_ports: int, number: int
) -> None:
    class Unlucky(Ports):
        """Ports of which another process takes one just after it was chosen."""

        def choose(self, *arguments: Any, **options: Any) -> int:
            port = super().choose(*arguments, **options)
            chosen.append(port)
            if len(chosen) == number:
                occupy(port)
            return port

    chosen: list[int] = []
    with closing(Home(None)) as home:
        it = server(home, Unlucky())
        it.start()
        try:
            it.wait_until_ready(lambda: time.sleep(0.02))
            assert len(chosen) > its_ports  # another was chosen, or the server was started again
        finally:
            stop([it])


def test_with_your_own_temporal_only_postgresql_starts(stack: Addresses) -> None:
    it = Stack(None, settings=Settings(temporal_host=stack.temporal_host, temporal_ui_url=stack.ui_url))
    with it as addresses:
        assert [server.name for server in it.servers] == ["PostgreSQL"]
        assert (addresses.temporal_host, addresses.ui_url) == (stack.temporal_host, stack.ui_url)
        assert addresses.database_url != stack.database_url
        assert inspect(connect(addresses.database_url)).has_table("orders")


def test_with_your_own_database_only_temporal_starts_and_migrates_it(bare_database_url: str) -> None:
    said: list[str] = []
    it = Stack(None, settings=Settings(database_url=bare_database_url), progress=said.append)
    with it as addresses:
        assert [server.name for server in it.servers] == ["Temporal"]
        assert addresses.database_url == bare_database_url
        assert inspect(connect(bare_database_url)).has_table("orders")
        assert "migrated from nothing" in said[-1]


def test_with_both_of_your_own_servers_no_server_starts(
    up: Callable[..., Any], environment: dict[str, str], stack: Addresses
) -> None:
    it = up(None, environment=environment)
    addresses = Addresses.model_validate_json(it.process.stdout.readline())
    assert it.process.wait() == 0
    assert addresses.temporal_host == stack.temporal_host
    assert addresses.database_url == environment["DATABASE_URL"]


def test_output_for_people_masks_the_password(up: Callable[..., Any], environment: dict[str, str]) -> None:
    printed = up(None, as_json=False, environment=environment).process.stdout.read().decode()
    assert environment["TEMPORAL_HOST"] in printed
    assert "orders:***@" in printed
    assert make_url(environment["DATABASE_URL"]).password not in printed


def test_your_own_database_that_does_not_answer_is_named() -> None:
    url = f"postgresql://me:secret@127.0.0.1:{free_port()}/orders"
    settings = Settings(temporal_host="127.0.0.1:1", database_url=url)
    with (
        pytest.raises(StackError, match=r"cannot be migrated: .*Connection refused") as refusal,
        Stack(None, settings=settings),
    ):
        pass
    assert "secret" not in str(refusal.value)
