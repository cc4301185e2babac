"""Pages of a list: the query's cursor and limit, and the object that OpenAI's clients page through."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from headrace.errors import Unknown
from headrace.text.quoting import quoted
from headrace_api.errors import ApiError

MAX_ID_CHARS = 64


def limit_of(query: Any, default: int, most: int, *, name: str = "limit") -> int:
    """Return the query's `limit`, or its number of that `name`. Raises `ApiError` outside 1 … `most`."""
    text = query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and 1 <= int(text) <= most):
        raise ApiError(
            400, "invalid_request", f"{name}={quoted(text, 40)}: must be a whole number from 1 to {most}", param=name
        )
    return int(text)


def word_of(query: Any, name: str, words: Sequence[str]) -> str | None:
    """Return the query's value of `name`; None without one. Raises `ApiError` for what is none of `words`."""
    text = query.get(name)
    if text is not None and text not in words:
        raise ApiError(
            400, "invalid_request", f"{name}={quoted(text, 40)}: must be one of {', '.join(words)}", param=name
        )
    return text


@contextmanager
def after_is_named() -> Iterator[None]:
    """Raise an `Unknown` of the block as an error of the query's `after`."""
    try:
        yield
    except Unknown as error:
        raise ApiError(404, "not_found", str(error), param="after") from None


def page_of(found: Sequence[dict[str, Any]], limit: int) -> dict[str, Any]:
    """Return the list of the first `limit` of `found`, which has one more if there are more."""
    shown = list(found[:limit])
    return {
        "object": "list",
        "data": shown,
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
        "has_more": len(found) > limit,
    }
