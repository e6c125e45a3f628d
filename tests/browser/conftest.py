"""Start JupyterLab, and a browser that shows it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser.chromium import OPTIONS, find_chromium
from tests.browser.jupyterlab_process import TOKEN, Lab


@pytest.fixture
def lab(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lab]:
    """Start JupyterLab. The parameter, if any, is its theme."""
    lab = Lab(tmp_path, base="/user/me/", theme=getattr(request, "param", "JupyterLab Light"))
    try:
        yield lab
    finally:
        lab.stop()


@pytest.fixture
def chromium() -> str:
    return find_chromium()


@pytest.fixture
def browser(chromium: str, lab: Lab) -> Iterator[Browser]:
    """Start a browser, and close it before `lab` is stopped.

    JupyterLab can lose a SIGTERM while it answers a request. Once jupyter-server-proxy has run a program, the signal
    raises SystemExit in whatever the server does (simpervisor), and Tornado logs it as an error of that request.
    """
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=OPTIONS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, lab: Lab) -> Page:
    """Open a page in JupyterLab, signed in."""
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    context.set_default_timeout(30_000)
    page = context.new_page()
    page.goto(f"{lab.url}lab?token={TOKEN}")
    return page
