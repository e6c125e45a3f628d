"""Link to Temporal's Web UI."""

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
    """A link, which `print` shows as text and an address."""

    def __init__(self, url: str | None, text: str, path: str | None = None) -> None:
        """Make a link.

        Args:
            url: The address, or None if nobody has set it.
            text: What to show.
            path: The path of the same page on the Jupyter server, for a browser that can reach only
                that server.
        """
        self.url = url
        self.text = text
        self.path = path

    def __repr__(self) -> str:
        url = self.url or "set TEMPORAL_UI_URL to the address of your server's Web UI"
        return visible(f"{self.text}: {url}")

    def _repr_html_(self) -> str | None:
        url = self.path or self.url
        return link_to(url, self.text) if url else None


def link(handle: WorkflowHandle[Any, Any] | None = None) -> Link:
    """Return a link to a workflow in Temporal's Web UI or, without one, to the list of all."""
    servers = running_servers()
    page = f"/namespaces/{quote(namespace(Settings()), safe='')}/workflows"
    page += f"/{quote(handle.id, safe='')}" if handle else ""
    text = f"{handle.id if handle else 'all workflows'} in the Temporal Web UI"
    return Link(
        servers.ui_url and servers.ui_url + page, text, servers.ui_path and servers.ui_path + page
    )
