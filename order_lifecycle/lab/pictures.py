"""What every picture of the lab has: its bytes, and the same in words for who cannot see it."""

from __future__ import annotations

from typing import Any

# Pictures have a light ground of their own, so that they read the same in a light and in a dark theme.
GROUND, INK, FAINT = "#ffffff", "#1f2328", "#6e7781"
BLUE, PALE, RED, ORANGE = "#1f5fa8", "#dbe9f8", "#b3261e", "#9a5b00"


class Picture:
    """Shown by Jupyter as a picture with an alt text; printed as that text."""

    def __init__(self, mime: str, data: str | bytes, alt: str) -> None:
        self.mime = mime
        self.data = data
        self.alt = alt

    def __repr__(self) -> str:
        return self.alt

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, str | bytes], dict[str, dict[str, str]]]:
        return {self.mime: self.data, "text/plain": self.alt}, {self.mime: {"alt": self.alt}}
