"""The lab shows every text of an order as text, never as markup. tests/browser shows it in JupyterLab."""

from __future__ import annotations

from html.parser import HTMLParser
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote, urlsplit

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from order_lifecycle.lab import links
from order_lifecycle.lab.checks.base import Check
from order_lifecycle.lab.links import Link, link
from order_lifecycle.lab.markup import as_html, frame_as_html, link_to, sentence
from order_lifecycle.lab.views.history import Span
from order_lifecycle.lab.views.pictures import Picture
from order_lifecycle.lab.views.timeline import Timeline
from order_lifecycle.visible import visible, visible_lines
from tests.support.hostile_markup import PAYLOADS


class Seen(HTMLParser):
    """Parse HTML into its elements, with their attributes, and its text."""

    def __init__(self, shown: str | None) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        assert shown is not None
        self.feed(shown)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    @property
    def tags(self) -> set[str]:
        return {tag for tag, _ in self.elements}


@pytest.mark.parametrize("text", PAYLOADS)
def test_a_check_shows_markup_as_text(text: str) -> None:
    shown = Check(f"The reason on record is {text}. Hint: `cancel_order`.", "")._repr_html_()
    seen = Seen(shown)
    assert seen.tags <= {"div", "p", "code"}
    assert all(attributes in ({}, {"class": "mathjax_ignore"}) for _, attributes in seen.elements)
    assert seen.text.replace(
        "`", ""
    ) == f"✗ Not yet. The reason on record is {visible_lines(text)}. Hint: cancel_order.".replace("`", "")
    assert ("$" in text or "\\" in visible_lines(text)) <= shown.startswith('<div class="mathjax_ignore">')


@pytest.mark.parametrize("text", PAYLOADS)
def test_a_link_leads_to_its_workflow_only(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    servers = SimpleNamespace(ui_url="http://127.0.0.1:8233", ui_path="/user/me/proxy/absolute/8233")
    monkeypatch.setattr(links, "running_servers", lambda: servers)
    handle: Any = SimpleNamespace(id=text)
    it = link(handle)
    seen = Seen(it._repr_html_())
    [(_, attributes)] = [element for element in seen.elements if element[0] == "a"]
    path = urlsplit(attributes["href"] or "").path
    assert path.startswith("/user/me/proxy/absolute/8233/namespaces/default/workflows/")
    assert unquote(path.rpartition("/")[2]) == text
    assert seen.tags <= {"div", "a"}
    assert seen.text == f"{visible_lines(text)} in the Temporal Web UI"
    assert repr(it).isprintable() or "\u200d" in text


@pytest.mark.parametrize("url", ["javascript:alert(1)", "data:text/html,x", " javascript:alert(1)", "JavaScript:x"])
def test_a_web_ui_address_that_is_not_http_gets_no_link(url: str) -> None:
    assert Seen(Link(url, "all workflows")._repr_html_()).elements == []
    assert Seen(link_to('/a" onclick="x', "y")).elements == [
        ("a", {"href": '/a" onclick="x', "target": "_blank", "rel": "noopener"})
    ]


@pytest.mark.parametrize("text", PAYLOADS)
def test_a_dataframe_shows_markup_as_text(text: str) -> None:
    with pd.option_context("display.max_colwidth", None):
        shown = frame_as_html(pd.DataFrame({"name": [text]}))
    seen = Seen(shown)
    assert seen.tags <= {"div", "style", "table", "thead", "tbody", "tr", "th", "td"}
    assert visible(text.partition("\n")[0]) in seen.text
    if "$" in text or "\\" in text:
        assert shown is not None
        assert shown.startswith('<div class="mathjax_ignore">')


def test_a_dataframe_without_markup_is_shown_as_pandas_shows_it() -> None:
    frame = pd.DataFrame({"id": ["abc-001"], "address": ["東京"]})
    assert frame_as_html(frame) == frame._repr_html_()  # type: ignore[operator]


@pytest.mark.parametrize("text", PAYLOADS)
def test_a_picture_escapes_markup_in_its_alt_text(text: str) -> None:
    data, _ = Picture("image/png", b"bytes", text)._repr_mimebundle_()
    [(tag, attributes)] = Seen(str(data["text/html"])).elements
    assert (tag, attributes["alt"]) == ("img", visible(text))
    assert set(attributes) == {"alt", "src"}


def test_a_timeline_shows_a_formula_in_an_id_as_text() -> None:
    """matplotlib would fail on such a title, or draw it as a formula."""
    foreign = r"$\frac{1$ \href{javascript:x}"
    it = Timeline(foreign, [Span(foreign, "signal", 0.0, 0.0, 0.0, "ok")])
    assert it.data
    assert foreign in it.alt


@given(st.text(st.characters()))
def test_any_text_as_html_stays_that_text(text: str) -> None:
    seen = Seen(as_html(text))
    assert seen.elements == []
    assert seen.text == visible_lines(text)
    assert Seen(sentence(text)).tags <= {"div", "p", "code"}
