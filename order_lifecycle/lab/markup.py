"""Turn text into HTML that shows it as it is: never as HTML, Markdown or mathematics."""

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
    """Return HTML that shows every character of `text` as it is."""
    return html.escape(visible_lines(text))


def sentence(text: str) -> str:
    """Return `text` as a paragraph of HTML, with text between backticks as code."""
    with_code = CODE.sub(r"<code>\1</code>", as_html(text))
    return _no_mathematics(f"<p>{with_code}</p>")


def link_to(url: str, text: str) -> str:
    """Return a link, or the text alone if `url` is not an HTTP address or a path."""
    if not url.startswith(("http://", "https://", "/")):
        return _no_mathematics(as_html(text))
    return _no_mathematics(
        f'<a href="{as_html(url)}" target="_blank" rel="noopener">{as_html(text)}</a>'
    )


def frame_as_html(frame: pd.DataFrame) -> str | None:
    """Return a DataFrame's HTML as pandas makes it, in which nothing is set as mathematics."""
    shown: str | None = frame._repr_html_()  # type: ignore[operator]
    return None if shown is None else _no_mathematics(visible_lines(shown))


def _no_mathematics(shown: str) -> str:
    r"""Return HTML in which JupyterLab leaves dollar signs and backslashes as they are.

    Otherwise it sets `$…$` and `\begin{…}` as mathematics, in which `\href{javascript:…}` is a
    link.
    """
    may_be = "$" in shown or "\\" in shown
    return f'<div class="mathjax_ignore">{shown}</div>' if may_be else shown


def show_frames_as_text() -> None:
    """Let this notebook show every DataFrame with `frame_as_html`."""
    ipython: Any = sys.modules.get("IPython")
    if shell := ipython and ipython.get_ipython():
        formatter = shell.display_formatter.formatters["text/html"]
        for module in ("pandas", "pandas.core.frame"):  # the names in pandas 3 and in pandas 2
            formatter.for_type_by_name(module, "DataFrame", frame_as_html)
