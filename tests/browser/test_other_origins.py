"""A web page of another origin, in a real browser, can read, cancel and terminate nothing.

It scans the ports of a stack, and uses a host name that it has pointed at this machine.
"""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
from playwright.sync_api import sync_playwright
from temporalio.client import Client, WorkflowExecutionStatus

from tests.browser.chromium import OPTIONS

WORKFLOWS = "/api/v1/namespaces/default/workflows"
SCAN = """async ([ports, host, workflows]) => {
  const read = [];
  for (const port of ports) {
    const at = `http://${host}:${port}${workflows}`;
    for (const [path, options] of [
      ["", {}],
      ["/do-not-tell", {}],
      ["/do-not-tell/cancel", {method: "POST", body: "{}"}],
      ["/do-not-tell/terminate", {method: "POST", body: "{}"}],
      ["/do-not-tell/signal/cancel_order", {method: "POST", body: "{}"}],
    ]) for (const mode of ["cors", "no-cors"]) {
      try {
        const answer = await fetch(at + path, {...options, mode, signal: AbortSignal.timeout(5000)});
        const text = await answer.text();
        if (answer.ok || text.includes("do-not-tell")) read.push([at + path, answer.status, text]);
      } catch (error) {}
    }
  }
  return read;
}"""
HOSTS = "--host-resolver-rules=MAP evil.test 127.0.0.1"


@pytest.fixture
def a_page() -> Iterator[str]:
    """Serve empty pages of another origin. SCAN says what they do."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>evil</title>")

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://evil.test:{server.server_port}/"
    server.shutdown()
    server.server_close()


@pytest.mark.proof
async def test_a_page_of_another_origin_reads_and_ends_nothing(
    up: Callable[..., Any], a_page: str, chromium: str
) -> None:
    stack = up(None)
    addresses = stack.addresses()
    client = await Client.connect(addresses.temporal_host)
    workflow = await client.start_workflow("any", id="do-not-tell", task_queue="nobody")
    ports = sorted(
        {
            one.laddr.port
            for process in stack.processes()
            for one in process.net_connections("inet")
            if one.status == psutil.CONN_LISTEN
        }
    )
    ui = urlsplit(addresses.ui_url or "")
    read: list[Any] = []
    title: list[str] = []

    def look() -> None:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=[*OPTIONS, HOSTS])
            page = browser.new_page()
            page.goto(a_page)
            for host in ("127.0.0.1", "localhost", "evil.test"):
                read.extend(page.evaluate(SCAN, [ports, host, WORKFLOWS]))
            # With the port of the Web UI in its own address, the page is of one origin with what answers there.
            page.goto(f"http://evil.test:{ui.port}/")
            title.append(page.inner_text("body").strip())
            read.extend(page.evaluate(SCAN, [[ui.port], "evil.test", WORKFLOWS]))
            # The way for people still leads to the workflow.
            page.goto(f"{addresses.ui_url}/namespaces/default/workflows")
            page.get_by_text("do-not-tell").first.wait_for(timeout=30_000)
            browser.close()

    thread = threading.Thread(target=look)  # playwright's own loop cannot run inside this one
    thread.start()
    thread.join()
    assert title == ["This Web UI answers to 127.0.0.1 and localhost only."]
    assert read == []
    description = await workflow.describe()
    assert description.status is WorkflowExecutionStatus.RUNNING
    assert description.history_length <= 2  # not even asked to cancel
    await workflow.terminate()
