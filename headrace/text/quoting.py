"""Bounded quotes in messages: enough to find the place, and no more."""

from __future__ import annotations

from typing import Any

MAX_QUOTED = 200
"""Maximal characters of a quote."""


def shortened(text: str, most: int = MAX_QUOTED) -> str:
    """Return `text`, or its first `most` characters with `…` in place of the rest."""
    return text if len(text) <= most else f"{text[:most]}…"


def quoted(value: Any, most: int = MAX_QUOTED) -> str:
    """Return `repr(value)`, cut to `most` characters; whatever the value does when it is asked."""
    if isinstance(value, str | bytes):  # cut before the rest of it is looked at
        text = repr(value[: most + 1])
        return text if len(value) <= most else f"{text[: most + 1]}…"
    try:
        return shortened(repr(value), most)
    except Exception as error:  # an object of somebody else's
        return f"<{type(value).__name__}, whose repr raises {type(error).__name__}>"
