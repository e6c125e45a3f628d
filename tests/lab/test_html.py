"""The lab shows what customers wrote as text, also in HTML."""

from __future__ import annotations

from operator import methodcaller
from pathlib import Path

import pytest
from temporalio.client import Client

from order_lifecycle import jupyter, lab
from order_lifecycle.client import start_order
from order_lifecycle.domain import Address, Item, Order, Policy
from order_lifecycle.lab.checks.base import Check
from order_lifecycle.lab.servers import LabServers
from order_lifecycle.lab.views.pictures import Picture
from order_lifecycle.workflows.order import OrderWorkflow

as_html = methodcaller("_repr_html_")  # what Jupyter calls; pandas' stubs do not have it
HOSTILE = "<img src=x onerror=alert(1)>\"'&"
AS_TEXT = "&lt;img src=x onerror=alert(1)&gt;"


def test_a_picture_has_its_alt_text_in_html_too() -> None:
    data, _ = Picture("image/png", b"bytes", HOSTILE)._repr_mimebundle_()
    html = str(data["text/html"])
    assert html.startswith(f'<img alt="{AS_TEXT}&quot;&#x27;&amp;" src="data:image/png;base64,')
    assert html.count("<") == html.count(">") == 1


def test_the_text_of_a_check_is_not_markup() -> None:
    check = Check(f"The reason is {HOSTILE}, it costs $5 and $6, order_id. Hint: `order_id = '*'`, `_`.", "")
    assert check._repr_html_() == (
        f'<div class="mathjax_ignore"><p>✗ Not yet. The reason is {AS_TEXT}&quot;&#x27;&amp;, it costs $5 and $6, '
        "order_id. Hint: <code>order_id = &#x27;*&#x27;</code>, <code>_</code>.</p></div>"
    )
    assert not hasattr(check, "_repr_markdown_")


async def test_nothing_of_a_hostile_order_is_markup(lab_servers: LabServers, client: Client) -> None:
    """This holds in a table, in a timeline and in the link to the Web UI."""
    order = Order(
        id="hostile",
        payment_id="pay-hostile",
        items=[Item(name=HOSTILE, qty=1, price="2.50")],  # type: ignore[arg-type]
        address=Address(address=HOSTILE, city="Columbus", state="OH", zipcode="43210"),
    )
    workers = [lab.start_worker("order")]
    handle = await start_order(client, order, Policy())
    await lab.wait_for_state(handle, "awaiting_review")
    await handle.signal(OrderWorkflow.cancel_order, HOSTILE)
    await handle.result()
    shown = [
        str(as_html(lab.table("orders"))),
        str(as_html(lab.table("orders", raw=True))),
        str(as_html(lab.table("events"))),
        str((await lab.timeline(handle))._repr_mimebundle_()[0]["text/html"]),
        str(lab.link(handle)._repr_html_()),
    ]
    assert AS_TEXT in shown[0]
    assert AS_TEXT in shown[2]
    assert [html for html in shown if "<img src=x" in html] == []
    del workers


@pytest.mark.parametrize("notebooks", [[], ["one.ipynb"], ["one.ipynb", HOSTILE]])
def test_the_page_behind_the_launcher_tile_escapes_text(notebooks: list[str]) -> None:
    """The page lists the Web UIs. If there is only one, it redirects to it."""
    page = jupyter.page([jupyter.WebUI(name, f"/proxy/absolute/{port}/") for port, name in enumerate(notebooks, 8001)])
    assert page.count("<a href=") == len(notebooks)
    assert ('http-equiv="refresh" content="0; url=/proxy/absolute/8001/"' in page) == (len(notebooks) == 1)
    assert ("No Temporal server runs yet" in page) == (not notebooks)
    assert (AS_TEXT in page) == (HOSTILE in notebooks)
    assert "<img" not in page


def test_without_a_jupyter_server_links_lead_to_the_web_ui(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("JPY_PARENT_PID", raising=False)
    assert jupyter.proxied_path() is None
    monkeypatch.setenv("JPY_PARENT_PID", "1")
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    assert jupyter.proxied_path() is None
    (tmp_path / "jpserver-1.json").write_text("cut o")
    assert jupyter.proxied_path() is None
