"""Numbers with their original digits: `1.10` is not `1.1`, and a long decimal has more digits than a double."""

from __future__ import annotations

import re
from typing import Any

import msgspec

JSON_BEGINS = re.compile(r"[\[{]")
decode = msgspec.json.Decoder(float_hook=lambda digits: msgspec.Raw(digits.encode())).decode
"""JSON with every number that has a point or an exponent as `Raw`, which is encoded as it was written."""


def as_written(value: Any, text: str | None) -> Any:
    """Return `value` with the digits that its numbers have in the JSON `text` that it was read from; `value` itself
    where the text is no JSON, or another number stands there."""
    try:
        return value if text is None or not has_floats(value) else laid_on(value, decoded(text))
    except (msgspec.DecodeError, ValueError, RecursionError):
        return value


def decoded(text: str) -> Any:
    """Decode the JSON in `text`, be it in a code fence or between words. Raises `msgspec.DecodeError`."""
    try:
        return decode(text)
    except msgspec.DecodeError:
        begin, end = JSON_BEGINS.search(text), max(text.rfind("}"), text.rfind("]"))
        return decode(text[begin.start() : end + 1] if begin else text)


def has_floats(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(has_floats, value.values()))
    return any(map(has_floats, value)) if isinstance(value, list) else isinstance(value, float)


def laid_on(value: Any, written: Any) -> Any:
    if isinstance(value, float):
        return written if isinstance(written, msgspec.Raw) and float(bytes(written)) == value else value
    if isinstance(value, dict) and isinstance(written, dict):
        return {key: laid_on(inner, written.get(key)) for key, inner in value.items()}
    if isinstance(value, list) and isinstance(written, list) and len(value) == len(written):
        return [laid_on(inner, other) for inner, other in zip(value, written, strict=True)]
    return value
