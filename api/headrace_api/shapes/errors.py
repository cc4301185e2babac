"""OpenAI's error object."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta


class ErrorBody(msgspec.Struct, frozen=True, kw_only=True):
    """The fault, its place, and the remedy."""

    message: str
    type: Annotated[str, Meta(description="`invalid_request_error`, `rate_limit_error` or `server_error`.")]
    param: Annotated[str | None, Meta(description="The place in the request: `messages[0].role`.")]
    code: Annotated[str | None, Meta(description="A word for programs: see docs/api.md.")]


class ErrorAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a request that failed."""

    error: ErrorBody
