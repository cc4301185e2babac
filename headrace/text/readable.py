"""Encode JSON only if it can be decoded again: an unreadable answer would be paid for twice."""

from __future__ import annotations

from typing import Any

import msgspec

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""Exceptions of decoding bytes of another format."""
UNWRITABLE = (ValueError, TypeError, OverflowError, RecursionError)
"""Exceptions of encoding a value as JSON, or of decoding it again: a lone surrogate, say, or a nesting too deep."""
MARGIN = 100
"""Levels of nesting that are kept below the decoder's limit: a later reader may run deeper in its call stack."""
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
