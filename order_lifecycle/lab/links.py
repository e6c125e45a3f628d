"""Links to Temporal's Web UI."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from temporalio.client import WorkflowHandle

from order_lifecycle.client import namespace
from order_lifecycle.lab.markup import link_to
from order_lifecycle.lab.servers import running_servers
from order_lifecycle.settings import Settings
from order_lifecycle.visible import visible


class Link:
    def __init__(self, url: str | None, text: str, path: str | None = None) -> None:
        """`path`: where the Jupyter server shows the same, for a browser that may see nothing but
        that server."""
        self.url = url
        self.text = text
        self.path = path

    def __repr__(self) -> str:
        url = self.url or "set TEMPORAL_UI_URL to where the Web UI of your server is"
        return visible(f"{self.text}: {url}")

    def _repr_html_(self) -> str | None:
        url = self.path or self.url
        return link_to(url, self.text) if url else None


def link(handle: WorkflowHandle[Any, Any] | None = None) -> Link:
    """A link to a workflow in Temporal's Web UI, or to the list of all of them."""
    servers = running_servers()
    page = f"/namespaces/{quote(namespace(Settings()), safe='')}/workflows"
    page += f"/{quote(handle.id, safe='')}" if handle else ""
    text = f"{handle.id if handle else 'all workflows'} in the Temporal Web UI"
    return Link(
        servers.ui_url and servers.ui_url + page, text, servers.ui_path and servers.ui_path + page
    )
