"""Use notebook 01 in a browser with the keyboard, as a person does.

To see screenshots: SCREENSHOTS=some/folder pytest -n 0 tests/browser
"""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import Any

import nbformat
import pytest
from playwright.sync_api import Page, TimeoutError, expect

from tests.browser.jupyterlab_process import Lab

pytestmark = pytest.mark.timeout(300)
expect.set_options(timeout=30_000)  # ms; a busy machine may need more than the usual 5 s
NAME = "01_first_order.ipynb"


def screenshot(page: Page, name: str) -> None:
    if folder := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=Path(folder, f"{name}.png"))


def open_notebook(page: Page, lab: Lab, name: str = NAME) -> None:
    page.goto(f"{lab.url}lab/tree/{name}")
    expect(page.locator(".jp-Notebook")).to_be_visible()
    deadline = time.monotonic() + 60
    while not lab.has_a_kernel(name):
        assert time.monotonic() < deadline, "the notebook has no kernel"
        page.wait_for_timeout(100)  # ms


def code_cells(lab: Lab) -> list[Any]:
    """Return the code cells of the saved notebook."""
    return [cell for cell in nbformat.read(lab.notebooks / NAME, as_version=4).cells if cell.cell_type == "code"]


def save(page: Page) -> None:
    """Press Ctrl+S until JupyterLab reacts, and wait for the checkpoint, which ends the save.

    JupyterLab ignores the keys while it is busy with an earlier save; on a slow machine also for a moment after its
    checkpoint. The file is empty for a moment before it is written.
    """
    with page.expect_response(
        lambda response: response.request.method == "POST" and f"{NAME}/checkpoints" in response.url,
        timeout=60_000,  # ms
    ) as checkpoint:
        for _ in range(9):
            try:
                with page.expect_request(
                    lambda request: request.method == "PUT" and NAME in request.url,
                    timeout=3_000,  # ms
                ):
                    page.keyboard.press("Control+s")
                break
            except TimeoutError:
                assert page.locator(".jp-Dialog").count() == 0, page.locator(".jp-Dialog").all_inner_texts()
    checkpoint.value.finished()


def have_run(page: Page, lab: Lab, cells: int, after: list[Any]) -> list[Any]:
    """Wait until so many code cells have run in this kernel, and return all. `after`: the cells before the run."""
    deadline = time.monotonic() + 90
    while True:
        page.wait_for_timeout(300)  # ms
        save(page)
        now = code_cells(lab)
        counts = [cell.execution_count for cell in now[:cells]]
        # The first cell shows a link to the new kernel's own servers.
        if counts == list(range(1, cells + 1)) and now[0].outputs not in ([], after[0].outputs):
            return now
        assert time.monotonic() < deadline, f"these have run: {counts}"


def trouble(code: list[Any]) -> list[Any]:
    """Return the errors and warnings of the cells."""
    return [out for cell in code for out in cell.outputs if out.output_type == "error" or out.get("name") == "stderr"]


def look_at(page: Page, what: str) -> None:
    """Scroll the element into view, because JupyterLab does not draw what is far away."""
    cell = page.locator(".jp-Cell", has=page.locator(what)).first
    for _ in range(60):
        if cell.count():
            break
        page.mouse.wheel(0, 400)
        page.wait_for_timeout(100)  # ms, for the drawing
    page.locator(what).first.scroll_into_view_if_needed()
    expect(page.locator(what).first).to_be_visible()


def run_each_cell(page: Page, lab: Lab) -> list[Any]:
    """Open the notebook, go through it with Shift+Enter, and return its code cells."""
    open_notebook(page, lab)
    page.locator(".jp-Notebook h1").click()
    expect(page.locator(".jp-Cell.jp-mod-active h1")).to_be_visible()
    before = code_cells(lab)
    for _ in nbformat.read(lab.notebooks / NAME, as_version=4).cells:
        page.keyboard.press("Shift+Enter")
    # Shift+Enter in the last cell has added an empty one, which never runs.
    return have_run(page, lab, len(before), after=before)[: len(before)]


def test_notebook_01_runs_in_jupyterlab(page: Page, lab: Lab) -> None:
    assert trouble(run_each_cell(page, lab)) == []

    page.locator(".jp-Notebook").hover()
    page.mouse.wheel(0, -100_000)
    look_at(page, "img[alt^='Timeline of order-abc-001']")
    picture = page.locator("img[alt^='Timeline of order-abc-001']").first
    assert picture.evaluate("picture => picture.naturalWidth") > 500  # one that cannot be drawn has none
    page.mouse.wheel(0, 200)  # for its legend
    page.wait_for_timeout(500)  # ms, for the drawing
    screenshot(page, "timeline")
    page.mouse.wheel(0, -100_000)
    look_at(page, "td:text-is('order_shipped')")  # of the table events
    screenshot(page, "tables")
    page.mouse.wheel(0, -100_000)
    look_at(page, "td:text-is('123')")  # payments
    page.mouse.wheel(0, -100_000)
    look_at(page, "td:text-is('shipped')")  # orders

    page.mouse.wheel(0, -100_000)
    look_at(page, "a:text('in the Temporal Web UI')")
    with page.expect_popup() as opened:
        page.locator("a:text('in the Temporal Web UI')").first.click()
    ui = opened.value
    expect(ui.get_by_text("order-abc-001").first).to_be_visible()
    assert ui.url.startswith(f"{lab.url}proxy/absolute/")  # not past the Jupyter server
    ui.locator("a[href*='/order-abc-001/']").first.click()
    expect(ui.get_by_text(re.compile("Completed")).first).to_be_visible()
    screenshot(ui, "web-ui")


@pytest.mark.proof
def test_restart_and_run_all_reaches_the_last_cell(page: Page, lab: Lab) -> None:
    """The servers and orders of the first kernel do not disturb the second."""
    code = run_each_cell(page, lab)
    page.locator("[data-command='notebook:restart-run-all']").click()
    expect(page.locator(".jp-Dialog button.jp-mod-accept")).to_be_focused()  # a busy machine takes a moment to ask
    page.keyboard.press("Enter")  # yes, restart
    assert trouble(have_run(page, lab, len(code), after=code)) == []


@pytest.mark.proof
@pytest.mark.parametrize("lab", ["JupyterLab Dark"], indirect=True)
def test_the_launcher_tile_leads_to_the_web_uis(page: Page, lab: Lab) -> None:
    """The tile leads to the Web UIs of the running notebooks. The screenshots show the dark theme."""
    tile = page.locator(".jp-LauncherCard", has_text="Temporal Web UI")
    with page.expect_popup() as opened:
        tile.click()
    expect(opened.value.get_by_text("No Temporal server runs yet")).to_be_visible()
    screenshot(page, "launcher")

    open_notebook(page, lab)
    before = code_cells(lab)
    page.locator(".jp-CodeCell .jp-InputArea-editor").first.click()
    page.keyboard.press("Shift+Enter")
    have_run(page, lab, 1, after=before)
    expect(page.locator("body[data-jp-theme-light='false']")).to_be_attached()
    screenshot(page, "dark")
    opened.value.reload()
    expect(opened.value).to_have_url(re.compile(re.escape(f"{lab.url}proxy/absolute/") + r"\d+/"))
    expect(opened.value.get_by_text("Workflows").first).to_be_visible()
