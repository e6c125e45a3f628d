"""Temporal's Web UI in JupyterLab, through the Jupyter server: it is then also seen from another
machine, or on Binder, where the Jupyter server is all that can be reached. The proxy is
jupyter-server-proxy's.

A Web UI comes under `proxy/absolute/<port>/` of the Jupyter server, and is told so when it starts.
The tile "Temporal Web UI" of the launcher leads to a page that lists those of all notebooks, or, if
there is one only, straight to it.
"""

from __future__ import annotations

import html
import http.client
import json
import os
import sys
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from order_lifecycle import isolated
from order_lifecycle.visible import visible

PORT = "{port}"  # in a path: the Web UI's own


def tile() -> dict[str, Any]:
    """The launcher's tile: an entry point of this package, which jupyter-server-proxy reads."""
    return {
        "command": isolated.command(__name__, PORT, "{base_url}"),
        "timeout": 20,
        "launcher_entry": {
            "title": "Temporal Web UI",
            "icon_path": str(Path(__file__).with_name("jupyter.svg")),
        },
        "new_browser_tab": True,
    }


def proxied_path() -> str | None:
    """Where the Jupyter server that started this kernel shows a Web UI, with PORT for the Web UI's.
    None without such a server, or if it has no proxy."""
    parent = os.environ.get("JPY_PARENT_PID")
    if parent is None:
        return None
    from jupyter_core.paths import jupyter_runtime_dir

    # Jupyter's own list_running_servers() reads this file too, after a second of imports
    # (https://github.com/jupyter-server/jupyter_server/issues/1559).
    try:
        server = json.loads(Path(jupyter_runtime_dir(), f"jpserver-{parent}.json").read_bytes())
    except (OSError, ValueError):
        return None
    return f"{server['base_url']}proxy/absolute/{PORT}" if _has_proxy(server) else None


def _has_proxy(server: dict[str, Any]) -> bool:
    url = urlsplit(server["url"])
    if url.scheme != "http":
        # With a certificate of its own, say: whether it is the right one is not ours to decide.
        return False
    connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=2)
    try:
        # The server asked through its own proxy. One without a proxy knows no such page.
        headers = {"Authorization": f"token {server['token']}"}
        api = f"{server['base_url']}proxy/{url.port}{server['base_url']}api"
        connection.request("GET", api, headers=headers)
        return connection.getresponse().status != http.client.NOT_FOUND
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


# --- the page behind the tile --------------------------------------------------------------------


@dataclass(frozen=True)
class WebUI:
    notebook: str
    path: str


def running(jupyter: int, base_url: str) -> list[WebUI]:
    """The Web UIs of what was started from that Jupyter server (its process id): the kernels' own,
    and those of `order-lifecycle up` in a terminal."""
    import psutil  # which ipykernel brings

    found = []
    for process in psutil.Process(jupyter).children(recursive=True):
        try:
            command = process.cmdline()
            if "start-dev" in command and "--ui-port" in command:
                port = command[command.index("--ui-port") + 1]
                notebook = Path(process.environ().get("JPY_SESSION_NAME", "a terminal")).name
                found.append(WebUI(notebook, f"{base_url}proxy/absolute/{port}/"))
        except psutil.Error:
            continue  # it has just ended
    return sorted(found, key=lambda ui: ui.notebook)


def page(found: list[WebUI]) -> str:
    """It leads to the only one by itself. (Not by a Location header: the proxy would take it for a
    page of ours.)"""
    by_itself = ""
    if len(found) == 1:
        by_itself = f'<meta http-equiv="refresh" content="0; url={html.escape(found[0].path)}">'
    if found:
        links = "".join(
            f'<li><a href="{html.escape(ui.path)}">{html.escape(visible(ui.notebook))}</a></li>'
            for ui in found
        )
        text = f"<p>Each notebook has a Temporal server of its own:</p><ul>{links}</ul>"
    else:
        text = (
            "<p>No Temporal server runs yet. Open a notebook and run its cell with "
            "<code>lab.up()</code>, then reload this page.</p>"
        )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Temporal Web UI</title>'
        f"{by_itself}<style>"
        ":root { color-scheme: light dark } "
        "body { font: 1.1rem/1.6 system-ui, sans-serif; margin: 4rem auto; "
        "max-width: 40rem; padding: 0 1rem }</style></head>"
        f"<body><h1>Temporal Web UI</h1>{text}</body></html>"
    )


def main() -> None:
    port, base_url = int(sys.argv[1]), sys.argv[2].rstrip("/") + "/"
    jupyter = os.getppid()

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = page(running(jupyter, base_url)).encode()
            self.send_response(http.client.OK)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Not into the Jupyter server's log."""

    with ThreadingHTTPServer(("127.0.0.1", port), Page) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
