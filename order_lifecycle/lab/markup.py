"""Text as HTML: nothing of an order is ever markup, neither HTML nor Markdown nor mathematics."""

from __future__ import annotations

import html
import re
import sys
from typing import TYPE_CHECKING, Any

from order_lifecycle.visible import visible_lines

if TYPE_CHECKING:
    import pandas as pd

CODE = re.compile(r"`([^`]+)`")


def as_html(text: str) -> str:
    """Return `text` as HTML that shows every character of it as it is."""
    return html.escape(visible_lines(text))


def sentence(text: str) -> str:
    """Return `text` as a paragraph, in which `what stands between backticks` is code."""
    with_code = CODE.sub(r"<code>\1</code>", as_html(text))
    return _no_mathematics(f"<p>{with_code}</p>")


def link_to(url: str, text: str) -> str:
    """Return a link, or the text alone if `url` leads to anything but a page."""
    if not url.startswith(("http://", "https://", "/")):
        return _no_mathematics(as_html(text))
    return _no_mathematics(
        f'<a href="{as_html(url)}" target="_blank" rel="noopener">{as_html(text)}</a>'
    )


def frame_as_html(frame: pd.DataFrame) -> str | None:
    """Return a DataFrame as pandas shows it, with nothing set as mathematics."""
    shown: str | None = frame._repr_html_()  # type: ignore[operator]
    return None if shown is None else _no_mathematics(visible_lines(shown))


def _no_mathematics(shown: str) -> str:
    r"""Return HTML in which JupyterLab leaves dollars and backslashes as they are.

    Elsewhere it sets `$…$` and `\begin{…}` as mathematics, where `\href{javascript:…}` is a link.
    """
    may_be = "$" in shown or "\\" in shown
    return f'<div class="mathjax_ignore">{shown}</div>' if may_be else shown


def show_frames_as_text() -> None:
    """Have this notebook show every DataFrame by `frame_as_html`."""
    ipython: Any = sys.modules.get("IPython")
    if shell := ipython and ipython.get_ipython():
        formatter = shell.display_formatter.formatters["text/html"]
        for module in ("pandas", "pandas.core.frame"):  # as pandas 3 and pandas 2 say
            formatter.for_type_by_name(module, "DataFrame", frame_as_html)
