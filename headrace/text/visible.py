"""Visible text: what a terminal, or a bar on one, may show of a text that came from anywhere.

A terminal obeys control sequences: they clear the screen, set the title, write the clipboard, or make a line read otherwise
than it is.
"""

from __future__ import annotations

import re

CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""C0 and C1 controls but for tab and line feed, the characters that turn the direction of a text or end a line of it, and halves
of surrogate pairs. ESC, CSI and OSC begin with one of them, so that no sequence has to be known, whole or cut in two."""
NAMED = {"\r": r"\r", "\b": r"\b"}
BYTE = range(0xDC80, 0xDD00)
"""Surrogates that stand for bytes of a file's name that are no UTF-8."""


def visible(text: str) -> str:
    """Return `text` as a terminal may show it: controls as escapes (`\\x1b`, and `\\u009b` as JSON writes it), a line
    end as one."""
    if text.isascii() and text.isprintable():
        return text
    return CONTROL.sub(lambda match: escape(match[0]), text.replace("\r\n", "\n"))


def escape(character: str) -> str:
    number = ord(character)
    if number in BYTE:
        return f"\\x{number - 0xDC00:02x}"
    return NAMED.get(character) or (f"\\x{number:02x}" if number < 0x80 else f"\\u{number:04x}")
