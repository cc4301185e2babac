"""An answer with a status of failure: what it says counts, as far as it can be read; its status counts in any case."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from email.message import Message
from typing import Any

from headrace.errors import CallError
from headrace_providers.wire.body import Body, text_encoding
from headrace_providers.wire.provider_errors import call_error
from headrace_providers.wire.retry_hints import hinted_s, retry_after_s

MAX_CONTENT_TYPE = 256
"""Characters."""
MAX_ERROR_BYTES = 1 << 18
ERROR_BODY_S = 5.0
"""Seconds that the body of an error is waited for, once its head is there."""


async def failure_of(status: int, headers: Mapping[str, str], body: Callable[[], Body]) -> CallError:
    """Return the error of an answer whose head has come. A body that breaks off, does not end or cannot be decompressed is
    left at what came of it: a wrong key stays a wrong key. `headers` are found by names in lower case."""
    pieces: list[bytes] = []
    size = 0
    with suppress(Exception):
        async with asyncio.timeout(ERROR_BODY_S):
            reading = body()
            while size < MAX_ERROR_BYTES and (data := await reading.read()):
                pieces.append(data)
                size += len(data)
    return call_error(
        status,
        error_body(b"".join(pieces), charset_of(headers.get("content-type", ""))),
        retry_after_s=(hinted_s if status == 429 else retry_after_s)(headers),
        asked=headers.get("x-should-retry"),
    )


def charset_of(content_type: str) -> str | None:
    """Return the charset that a content type names near its beginning: to look for it takes the square of its length."""
    said = Message()
    said["Content-Type"] = content_type[:MAX_CONTENT_TYPE]
    return said.get_content_charset()


def error_body(content: bytes, charset: str | None) -> Any:
    """Return the error object of an answer of failure; what is no JSON as text."""
    text = content.decode(text_encoding(charset), errors="replace").strip()
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return body.get("error", body) if isinstance(body, dict) else body
