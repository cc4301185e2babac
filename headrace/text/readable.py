"""JSON is written only when its own reader takes it: what could not be read again would be paid for again."""

from __future__ import annotations

from typing import Any

import msgspec

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""Exceptions of decoding bytes that are not what was to be there."""
UNWRITABLE = (ValueError, TypeError, OverflowError, RecursionError)
"""Exceptions of writing a value as JSON, or of reading it again: half of a surrogate pair, say, or a nesting too deep."""
MARGIN = 100
"""Levels of nesting that a reader has less than the writer: it may stand deeper in its own stack."""
MAX_UNSUSPECTED = 300
_encode = msgspec.json.Encoder().encode


def checked_encode(value: Any, type: Any) -> bytes:
    """Encode `value` as JSON that decodes as a `type`. Raises one of `UNWRITABLE`."""
    encoded = _encode(value)
    msgspec.json.decode(encoded, type=type)
    if encoded.count(b"[") + encoded.count(b"{") > MAX_UNSUSPECTED:
        msgspec.json.decode(b"[" * MARGIN + encoded + b"]" * MARGIN)
    return encoded


def is_json(text: str | bytes) -> bool:
    """Return True if all of it is one JSON value."""
    try:
        msgspec.json.decode(text)
    except (ValueError, RecursionError):
        return False
    return True
