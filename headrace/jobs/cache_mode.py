"""The modes in which a job uses the answer cache."""

from __future__ import annotations

from typing import Any, Literal

from headrace.chat.options import Options
from headrace.errors import InputError
from headrace.text.quoting import quoted

CacheMode = Literal["off", "read", "write", "refresh", "on"]
"""`off`: neither. `read`: a cached answer will do; a new one is not kept. `write`: a new answer is paid, and kept where none is.
`refresh`: a new answer is paid, and replaces the one that is kept. `on`: a cached answer will do, a new one is kept, and of those
who ask the same at once one pays."""
Cache = bool | CacheMode
"""Mode as a caller gives it: True is `on`, False is `off`."""
StoredCache = bool | Literal["read", "write", "refresh"]
"""The mode in a job's body: `on` and `off` are the booleans that workers of earlier releases know."""
STORED: dict[str, StoredCache] = {"off": False, "read": "read", "write": "write", "refresh": "refresh", "on": True}
TemplateCache = bool | Literal["read", "write", "refresh", "auto"]
"""The mode in a template. `auto`: nobody named one; then an item that wants samples has none."""
MAX_VARIANT_CHARS = 256


def stored_cache(value: Any) -> StoredCache:
    """Return the mode as a body holds it. Raises `InputError` for anything else."""
    if isinstance(value, bool):
        return value
    if not isinstance(value, str) or value not in STORED:
        raise InputError(f"cache={quoted(value)}: must be True, False, or one of {', '.join(STORED)}")
    return STORED[value]


def template_cache(value: Any) -> TemplateCache:
    """Return the mode as a template holds it; `auto` for None. Raises `InputError`."""
    return "auto" if value is None else stored_cache(value)


def of_item(cache: TemplateCache, options: Options) -> StoredCache:
    """Return the mode of an item with these options."""
    return not wants_samples(options) if cache == "auto" else cache


def wants_samples(options: Options) -> bool:
    """Return True if whoever asks with these options asks again for another answer."""
    return (options.temperature or 0) > 0 or (options.n or 1) > 1


def checked_variant(value: Any) -> str:
    """Return the name of a sample; empty for None. Raises `InputError`."""
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > MAX_VARIANT_CHARS or not value.isprintable():
        raise InputError(f"variant={quoted(value)}: must be a text of {MAX_VARIANT_CHARS} printable characters at most")
    return value
