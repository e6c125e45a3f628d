"""Links to Temporal's Web UI."""

from __future__ import annotations

from typing import Any

from temporalio.client import WorkflowHandle

from order_lifecycle.lab.world import here
from order_lifecycle.settings import Settings


class Link:
    def __init__(self, url: str | None, text: str) -> None:
        self.url = url
        self.text = text

    def __repr__(self) -> str:
        return f"{self.text}: {self.url or 'set TEMPORAL_UI_URL to where the Web UI of your server is'}"

    def _repr_html_(self) -> str | None:
        return f'<a href="{self.url}" target="_blank" rel="noopener">{self.text}</a>' if self.url else None


def link(handle: WorkflowHandle[Any, Any] | None = None) -> Link:
    """A link to a workflow in Temporal's Web UI, or to the list of all of them."""
    url = here().ui_url
    page = f"{url}/namespaces/{Settings().temporal_namespace}/workflows"
    if handle is None:
        return Link(url and page, "all workflows in the Temporal Web UI")
    return Link(url and f"{page}/{handle.id}", f"{handle.id} in the Temporal Web UI")
