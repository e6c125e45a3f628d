"""A web page of another origin gets nothing from a stack. tests/browser tries the same with a browser.

Such a page can send requests to every port of 127.0.0.1. It can read the answers if it points its own host name there
(DNS rebinding).
"""

from __future__ import annotations

import http.client
import socket
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
from temporalio.client import Client, WorkflowExecutionStatus

from order_lifecycle.settings import Addresses
from order_lifecycle.stack.ui_guard import host_is_allowed

WORKFLOWS = "/api/v1/namespaces/default/workflows"


def ask(port: int, method: str, path: str, host: str, headers: dict[str, str] | None = None) -> tuple[int, str]:
    """Return the status and the text of the answer; the status is 0 if the answer is not HTTP."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(
            method, path, body="{}" if method == "POST" else None, headers={"Host": host, **(headers or {})}
        )
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")
    except (OSError, http.client.HTTPException):
        return 0, ""
    finally:
        connection.close()


async def test_no_port_answers_a_page_of_another_origin(up: Callable[..., Any]) -> None:
    stack = up(None)
    addresses = stack.addresses()
    client = await Client.connect(addresses.temporal_host)
    workflow = await client.start_workflow("any", id="do-not-tell", task_queue="nobody")
    ports = {
        one.laddr.port
        for process in stack.processes()
        for one in process.net_connections("inet")
        if one.status == psutil.CONN_LISTEN and one.laddr.ip == "127.0.0.1"
    }
    assert len(ports) >= 4
    for port in ports:
        for host in (f"evil.test:{port}", "evil.test"):
            for path in (WORKFLOWS, f"{WORKFLOWS}/do-not-tell", "/"):
                status, said = ask(port, "GET", path, host)
                if host == "evil.test" and port == urlsplit(addresses.ui_url or "").port:
                    continue  # no browser leaves the port out; a proxy does
                assert "do-not-tell" not in said
                assert status in (0, 400, 403, 404), (port, host, path, said)
        for host in (f"127.0.0.1:{port}", f"evil.test:{port}"):
            for end in ("cancel", "terminate", "signal/cancel_order"):
                plain = {"Content-Type": "text/plain", "Origin": "http://evil.test"}
                status, said = ask(port, "POST", f"{WORKFLOWS}/do-not-tell/{end}", host, plain)
                assert status in (0, 400, 403, 404, 405), (port, host, end, said)
    description = await workflow.describe()
    assert description.status is WorkflowExecutionStatus.RUNNING
    assert description.history_length <= 2  # not even asked to cancel
    await workflow.terminate()


def test_the_web_ui_allows_no_other_origin_to_read_it(stack: Addresses) -> None:
    port = urlsplit(stack.ui_url or "").port or 0
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    for method in ("GET", "OPTIONS"):
        headers = {"Origin": "http://evil.test", "Access-Control-Request-Method": "POST"}
        connection.request(method, WORKFLOWS, headers=headers)
        answer = connection.getresponse()
        answer.read()
        assert answer.getheader("Access-Control-Allow-Origin") in (None, "")
    connection.close()


@pytest.mark.parametrize(
    ("head", "ours"),
    [
        ("Host: 127.0.0.1:8233", True),
        ("Host: localhost:8233", True),
        ("host: LOCALHOST:8233", True),
        ("Host: hub.example.org", True),  # through the Jupyter server, which browsers reach at another port
        ("Host: 127.0.0.1:8888", True),
        ("Host: evil.test:8233", False),
        ("Host: 127.0.0.1.evil.test:8233", False),
        ("Host: localhost.evil.test:8233", False),
        ("Host: evil.test:08233", False),
        ("Host: user@evil.test:8233", False),
        ("Host: 127.0.0.1:8233\r\nHost: evil.test:8233", False),
        ("Host: evil.test:port", False),
        ("Accept: */*", False),
    ],
)
def test_the_guard_of_the_web_ui_checks_the_host_header(head: str, ours: bool) -> None:
    assert host_is_allowed(f"GET / HTTP/1.1\r\n{head}\r\n\r\n".encode(), 8233) is ours


def test_a_request_in_pieces_is_forwarded_whole(stack: Addresses) -> None:
    port = urlsplit(stack.ui_url or "").port or 0
    with socket.create_connection(("127.0.0.1", port), timeout=10) as browser:
        for piece in ("GET / HT", "TP/1.0\r\nHo", f"st: localhost:{port}\r", "\n\r\n"):
            browser.sendall(piece.encode())
        assert browser.recv(4096).split()[1] in (b"200", b"308")
