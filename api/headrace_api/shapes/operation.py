"""Request and answer of a route, as its handler declares them: `@get(path, operation=Operation(…))`."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

KEY = "operation"


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """The description of a route beside its handler's docstring.

    `query`, `body` and `answer` are structs. `media` is the type of a body or an answer that is no JSON. `events` is what a
    streamed answer is made of; with `also_streams` it is JSON unless the request asks for a stream.
    """

    query: type[msgspec.Struct] | None = None
    body: Any = None
    body_media: str = "application/json"
    body_required: bool = True
    answer: Any = None
    media: str = "application/json"
    status: int = 200
    events: Any = None
    empty: Literal[204] | None = None


def operation_of(handler: Any) -> Operation | None:
    """Return the operation of a route's handler; None for one that declares none."""
    return handler.opt.get(KEY)
