"""What every picture of the lab has: its bytes, and the same in words for who cannot see it."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from order_lifecycle.lab.markup import as_html
from order_lifecycle.visible import visible

# Pictures have a light ground of their own, so that they read the same in a light and in a dark
# theme.
BACKGROUND, DARK, GREY = "#ffffff", "#1f2328", "#6e7781"
BLUE, PALE_BLUE, RED, ORANGE = "#1f5fa8", "#dbe9f8", "#b3261e", "#9a5b00"


class Picture:
    """Shown by Jupyter as a picture with an alt text; printed as that text."""

    def __init__(self, mime: str, data: str | bytes, alt: str) -> None:
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
        """JupyterLab shows this, and with it the alt text; with a picture alone it does not."""
        data = self.data.encode() if isinstance(self.data, str) else self.data
        source = f"data:{self.mime};base64,{b64encode(data).decode()}"
        return f'<img alt="{as_html(self.alt)}" src="{source}">'
