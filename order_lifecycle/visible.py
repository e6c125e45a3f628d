"""Escape the hidden characters of a text, so that it can be shown safely.

Names and addresses are stored as the customer wrote them. A right-to-left name, for example, needs
marks of direction. Only showing such text is unsafe, so all code that shows it calls this module.
"""

from __future__ import annotations

import re

# Control characters (ESC and U+009B begin a terminal command), lone surrogates, marks that change
# the direction of writing, zero-width characters and fillers, line separators, the byte-order mark,
# noncharacters, and tags.
_HIDDEN = (
    r"\x00-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f"
    r"\u2028-\u202e\u2060-\u206f\u3164\ud800-\udfff\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff"
    r"\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e00ff\U000e01f0-\U000e0fff"
)
# Persian, Indic scripts and emoji need joiners between two characters, but never next to ASCII.
_JOINED = r"[^\x00-\x7f\u200b-\u200f]"
_UNSAFE = re.compile(
    rf"[{_HIDDEN}]|(?<!{_JOINED})[\u200c\u200d]|[\u200c\u200d](?!{_JOINED})",
)


def visible(text: str) -> str:
    r"""Return the text as one line, with each hidden character as an escape such as `\u202e`."""
    return _UNSAFE.sub(lambda hidden: hidden[0].encode("unicode_escape").decode(), text)


def visible_lines(text: str) -> str:
    """Return the text with hidden characters escaped, but keep its line feeds."""
    return "\n".join(map(visible, text.split("\n")))


def visible_json(text: str) -> str:
    """Return JSON with hidden characters as JSON escapes, so that its values stay the same."""
    return _UNSAFE.sub(_json_escape, text)


def _json_escape(hidden: re.Match[str]) -> str:
    units = hidden[0].encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))
