"""Show Temporal's Web UI in JupyterLab, through the proxy of jupyter-server-proxy.

The proxy is needed on Binder, or on another machine: only the Jupyter server can be reached there.

A Web UI has the path `proxy/absolute/<port>/` on the Jupyter server, and gets this path when it
starts. The tile "Temporal Web UI" in the launcher opens a page that lists the Web UIs of all
notebooks. If only one runs, the page leads directly to it.
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

PORT = "{port}"  # in a path, a placeholder for the port of the Web UI


def tile() -> dict[str, Any]:
    """Return the launcher's tile. jupyter-server-proxy calls this entry point."""
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
    """Return the path of a Web UI on the Jupyter server that started this kernel, with PORT in it.

    It returns None if no Jupyter server started this process, or if the server has no proxy.
    """
    parent = os.environ.get("JPY_PARENT_PID")
    if parent is None:
        return None
    from jupyter_core.paths import jupyter_runtime_dir

    # Jupyter's list_running_servers() reads the same file, but its imports take a second
    # (https://github.com/jupyter-server/jupyter_server/issues/1559).
    try:
        server = json.loads(Path(jupyter_runtime_dir(), f"jpserver-{parent}.json").read_bytes())
    except (OSError, ValueError):
        return None
    return f"{server['base_url']}proxy/absolute/{PORT}" if _has_proxy(server) else None


def _has_proxy(server: dict[str, Any]) -> bool:
    url = urlsplit(server["url"])
    if url.scheme != "http":
        return False  # we could not verify a self-signed certificate
    connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=2)
    try:
        # Ask the server for its API through its own proxy. Without a proxy it answers 404.
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
    """A Web UI that runs: the notebook that started it, and its path on the Jupyter server."""

    notebook: str
    path: str


def running(jupyter: int, base_url: str) -> list[WebUI]:
    """Return the Web UIs that run under the Jupyter server with the process ID `jupyter`.

    They belong to its notebooks, and to `order-lifecycle up` in its terminals.
    """
    import psutil  # a dependency of ipykernel

    found = []
    for process in psutil.Process(jupyter).children(recursive=True):
        try:
            command = process.cmdline()
            if "start-dev" in command and "--ui-port" in command:
                port = command[command.index("--ui-port") + 1]
                notebook = Path(process.environ().get("JPY_SESSION_NAME", "a terminal")).name
                found.append(WebUI(notebook, f"{base_url}proxy/absolute/{port}/"))
        except psutil.Error:
            continue  # the process has just ended
    return sorted(found, key=lambda ui: ui.notebook)


def page(found: list[WebUI]) -> str:
    """Return the page behind the tile, as HTML.

    If there is only one Web UI, the page redirects to it. It does not use a Location header,
    because the proxy would rewrite that to a path of this page's own server.
    """
    redirect = ""
    if len(found) == 1:
        redirect = f'<meta http-equiv="refresh" content="0; url={html.escape(found[0].path)}">'
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
        f"{redirect}<style>"
        ":root { color-scheme: light dark } "
        "body { font: 1.1rem/1.6 system-ui, sans-serif; margin: 4rem auto; "
        "max-width: 40rem; padding: 0 1rem }</style></head>"
        f"<body><h1>Temporal Web UI</h1>{text}</body></html>"
    )


def main() -> None:
    """Serve the page behind the tile. Arguments: the port, and the Jupyter server's base URL."""
    port, base_url = int(sys.argv[1]), sys.argv[2].rstrip("/") + "/"
    jupyter = os.getppid()

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """Answer every request with the page."""
            body = page(running(jupyter, base_url)).encode()
            self.send_response(http.client.OK)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Keep requests out of the Jupyter server's log."""

    with ThreadingHTTPServer(("127.0.0.1", port), Page) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
