"""A real JupyterLab shows what customers wrote as text, and runs none of it."""

from __future__ import annotations

import re

import nbformat
import pytest
from playwright.sync_api import Page, expect

from tests.browser.jupyterlab_process import Lab
from tests.browser.test_jupyterlab import open_notebook
from tests.support.hostile_markup import PAYLOADS

pytestmark = pytest.mark.timeout(300)
NAME = "payloads.ipynb"

SHOW = f"""
import pandas as pd
from IPython.display import HTML, Math, display
from order_lifecycle.lab.checks.base import Check
from order_lifecycle.lab.links import Link
from order_lifecycle.lab.markup import show_frames_as_text
from order_lifecycle.lab.views.pictures import Picture
show_frames_as_text()
pd.set_option("display.max_colwidth", None)
PAYLOADS = {PAYLOADS!r}
SVG = "<svg xmlns='http://www.w3.org/2000/svg'/>"
# JupyterLab shows no more than fifty outputs of a cell, so all of a kind are one.
for kind in (
    lambda text: Check(f"The reason on record is {{text}}. Hint: `cancel_order`.", "")._repr_html_(),
    lambda text: Link("http://127.0.0.1:1/" + text, text)._repr_html_(),
    lambda text: Link(text, text)._repr_html_(),
    lambda text: Picture("image/svg+xml", SVG, text)._repr_mimebundle_()[0]["text/html"],
):
    display(HTML("".join(map(kind, PAYLOADS))))
display(Check(PAYLOADS[3], ""), Link("http://127.0.0.1:1/", PAYLOADS[3]), Picture("image/svg+xml", SVG, PAYLOADS[3]))
display(pd.DataFrame({{"name": PAYLOADS}}))
display(pd.DataFrame({{"name": PAYLOADS}}).head(99))
display(Math("z"))
print("all are shown")
"""


@pytest.mark.proof
def test_hostile_text_runs_nothing_in_jupyterlab(page: Page, lab: Lab) -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(SHOW)])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, lab.notebooks / NAME)
    open_notebook(page, lab, NAME)
    page.locator(".jp-CodeCell .jp-InputArea-editor").first.click()
    page.keyboard.press("Shift+Enter")
    shown = page.locator(".jp-CodeCell .jp-Cell-outputArea").first
    expect(shown.get_by_text("all are shown")).to_be_visible(timeout=60_000)  # ms
    # The formula of ours is the last to be set, and the only one.
    expect(shown.locator("mjx-container")).to_have_count(1, timeout=60_000)  # ms
    expect(shown.locator("mjx-container")).to_have_text(re.compile("z"))
    page.evaluate("document.querySelectorAll('.jp-OutputArea a[href^=javascript]').forEach(link => link.click())")
    assert page.evaluate("window.ran") is None
    assert shown.locator("img[src=x], svg[onload], iframe, script, b, h1").count() == 0
    assert shown.locator("mjx-container").count() == 1
    links = shown.locator("a").evaluate_all("links => links.map(link => link.href)")
    assert [link for link in links if not link.startswith(("http://", "https://"))] == []
    text = shown.inner_text()
    assert r"$\href{javascript:window.ran='math'}{click}$" in text
    assert r"\u202egnp.exe" in text
    assert "\u202e" not in text
