"""From an answer's bytes to its chunks: events, JSON, and what real servers write instead of them. Without I/O."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from headrace.errors import CallError
from headrace.text.readable import is_json
from headrace_providers.wire.sse import BOM, DONE, ServerSentEvent
from headrace_providers.wire.surrogates import Halves

Chunk = dict[str, Any]
PINGS = frozenset({b"ping", b"[ping]", b"null", b"heartbeat", b"keep-alive", b"keepalive", b": keepalive", b": ping"})
"""Events that only say that the other side lives."""


def chunks_of(event: ServerSentEvent, halves: Halves) -> list[Chunk | None]:
    """Return the chunk in an event; None for the word that nothing follows; no chunk of an event that the end cut off."""
    if event.data.startswith(DONE):
        return [None]
    if event.name == b"error":
        return [error_chunk(event.data)]
    if event.data.strip().lower() in PINGS:
        return []
    if event.cut and not is_json(event.data):
        return []
    return [decoded(event.data, halves)] if event.data.strip() else []


def error_chunk(data: bytes) -> Chunk:
    """Return an event of the name `error` as a chunk with an `error`, whatever is in it."""
    try:
        said = decoded(data)
    except CallError:
        return {"error": data.decode(errors="replace") or "an error without a message"}
    return said if said.get("error") else {"error": said}


def is_whole(headers: Mapping[str, str], pieces: list[bytes]) -> bool:
    """Return whether what has come is all of an object whose length nobody said, though the connection stays open."""
    ends = pieces[-1].rstrip()[-1:] == b"}"
    return ends and "content-length" not in headers and is_json(b"".join(pieces))


def begins_stream(body: bytes) -> bool:
    return body.removeprefix(BOM).lstrip()[:5] in (b"data:", b"event")


def is_stream(headers: Mapping[str, str], body: bytes) -> bool:
    """Return whether a body is one of server-sent events, though nobody asked for them."""
    return begins_stream(body) or ("text/event-stream" in headers.get("content-type", "") and not is_json(body))


def decoded(content: bytes, halves: Halves | None = None) -> Chunk:
    """Decode an answer's JSON object; `halves` are those of the stream that it is a chunk of."""
    try:
        chunk = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        chunk = loosely_decoded(content, halves or Halves())
    if isinstance(chunk, list) and len(chunk) == 1 and isinstance(chunk[0], dict):
        return chunk[0]  # Gemini's way to answer with an error
    if not isinstance(chunk, dict):
        raise CallError("provider_error", "the provider's answer is not a JSON object")
    return chunk


def loosely_decoded(content: bytes, halves: Halves) -> Any:
    """Decode an object with numbers that JSON does not have, as Python writes the logarithm of nothing, or with characters cut
    in two: an answer is not lost for them. Raises `CallError` for everything else that is no JSON."""
    try:
        chunk = halves.join(json.loads(content))
        msgspec.json.encode(chunk)
    except (ValueError, RecursionError):
        raise CallError("provider_error", "the provider's answer is not JSON") from None
    return chunk
