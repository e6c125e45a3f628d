"""Guard Temporal's Web UI against web pages, because it answers for every host name.

A web page can point its own host name at 127.0.0.1 (DNS rebinding). The browser then takes the Web
UI for a part of that page, and the page can read and cancel every order. So the Web UI listens at
an address that a page cannot know, and this guard listens at the address that people use. The guard
forwards a connection only if its first request names this machine. A browser uses a connection for
one host name only, so the guard does not check later requests.
"""

from __future__ import annotations

import http.client
import io
import secrets
import socket
import socketserver
import sys
import threading
from contextlib import suppress
from urllib.parse import urlsplit

ALLOWED_HOSTS = ("127.0.0.1", "localhost")
MAX_HEAD = 64 * 1024  # bytes
HEAD_TIMEOUT = 30.0  # s
FORBIDDEN = (
    b"HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n"
    b"This Web UI answers to 127.0.0.1 and localhost only.\n"
)


def hidden_address() -> str | None:
    """Return a random loopback address, or None where there is only one, as on macOS."""
    if sys.platform != "linux":
        return None
    return ".".join(["127", *(str(1 + secrets.randbelow(254)) for _ in range(3))])


class UiGuard:
    """Listens at a port of 127.0.0.1 for the Web UI, which has the same port at another address."""

    def __init__(self, port: int, address: str) -> None:
        """Start to listen.

        Args:
            port: The port here and there.
            address: The address of the Web UI.

        Raises:
            OSError: If the port is not free.
        """

        class Connection(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with suppress(OSError):  # the browser or the Web UI has closed its side
                    _forward(self.request, port, address)

        self._server = _Server(("127.0.0.1", port), Connection)
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="guard of the Web UI", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128


def _forward(browser: socket.socket, port: int, address: str) -> None:
    """Check the first request of a connection, then copy bytes both ways until it ends."""
    browser.settimeout(HEAD_TIMEOUT)
    head = b""
    while b"\r\n\r\n" not in head:
        received = browser.recv(MAX_HEAD)
        head += received
        if not received or len(head) > MAX_HEAD:
            return
    if not host_is_allowed(head, port):
        browser.sendall(FORBIDDEN)
        return
    browser.settimeout(None)
    with socket.create_connection((address, port)) as ui:
        ui.sendall(head)
        back = threading.Thread(target=_copy, args=(ui, browser), daemon=True)
        back.start()
        _copy(browser, ui)
        back.join()


def host_is_allowed(head: bytes, port: int) -> bool:
    """Return True if a request has exactly one Host header, and we allow that host.

    A browser that connects to this port puts the port into Host. Any other port there means that
    the browser asked a proxy, such as the Jupyter server's, which has its own protection.

    Args:
        head: The request line and the headers.
        port: The guard's port.
    """
    hosts = http.client.parse_headers(io.BytesIO(head.partition(b"\r\n")[2])).get_all("Host", [])
    if len(hosts) != 1:
        return False
    try:
        host = urlsplit(f"//{hosts[0]}")
        return host.hostname in ALLOWED_HOSTS or (host.port or 80) != port
    except ValueError:
        return False


def _copy(source: socket.socket, target: socket.socket) -> None:
    """Copy bytes until `source` ends, and then end `target`, too."""
    with suppress(OSError):
        while received := source.recv(MAX_HEAD):
            target.sendall(received)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
