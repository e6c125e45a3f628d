"""Show a picture in a notebook, with an alt text for a reader who cannot see it."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from order_lifecycle.lab.markup import as_html
from order_lifecycle.visible import visible

# Every picture has a white background, so that it looks the same in a light and in a dark theme.
BACKGROUND, DARK, GREY = "#ffffff", "#1f2328", "#6e7781"
BLUE, PALE_BLUE, RED, ORANGE = "#1f5fa8", "#dbe9f8", "#b3261e", "#9a5b00"


class Picture:
    """A picture with an alt text. Jupyter shows the picture, and `print` shows the text."""

    def __init__(self, mime: str, data: str | bytes, alt: str) -> None:
        """Make a picture.

        Args:
            mime: The type of the data, such as image/png.
            data: The picture itself.
            alt: The alt text.
        """
        self.mime = mime
        self.data = data
        self.alt = visible(alt)

    def __repr__(self) -> str:
        return self.alt

    def _repr_mimebundle_(
        self, **_: Any
    ) -> tuple[dict[str, str | bytes], dict[str, dict[str, str]]]:
        data = {self.mime: self.data, "text/html": self._html(), "text/plain": self.alt}
        return data, {self.mime: {"alt": self.alt}}

    def _html(self) -> str:
        """Return an <img> element: with one, JupyterLab shows the alt text, too."""
        data = self.data.encode() if isinstance(self.data, str) else self.data
        source = f"data:{self.mime};base64,{b64encode(data).decode()}"
        return f'<img alt="{as_html(self.alt)}" src="{source}">'
