"""References in a conversation to what lies in the file store: where a provider wants the bytes of a file, a line of the input
has its type and its hash. The worker puts the bytes in their place when it makes the request.

A reference is resolved only where the item's own media have it: a text that looks like one is a text.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from headrace.chat.messages import user

Part = dict[str, Any]
REFERENCE = re.compile(r"headrace-media:([a-z]+/[a-z0-9.+-]+);sha256=([0-9a-f]{64})")
PLACES = {"image_url": "url", "input_audio": "data", "file": "file_data"}
"""The field that a part of each type has its file in."""


class Blob(NamedTuple):
    """The bytes of a file, and their SHA-256 in hexadecimal digits."""

    sha: str
    data: bytes

    @classmethod
    def of(cls, data: bytes) -> Blob:
        return cls(hashlib.sha256(data).hexdigest(), data)


def reference(media_type: str, blob: Blob) -> str:
    """Return the reference to a blob that is of `media_type`."""
    return f"headrace-media:{media_type};sha256={blob.sha}"


def hashes(parts: Iterable[Any]) -> set[str]:
    """Return the hashes of the blobs that the parts refer to."""
    return {found[2] for part in parts if (found := _reference_of(part)) is not None}


def with_files(messages: list[dict[str, Any]], files: Mapping[str, bytes]) -> list[dict[str, Any]]:
    """Return the conversation with files in place of the references to them, as data URLs; sound as base64."""
    return [_with_files(message, files) for message in messages]


def _with_files(message: dict[str, Any], files: Mapping[str, bytes]) -> dict[str, Any]:
    content = message.get("content")
    if not isinstance(content, list):
        return message
    return {**message, "content": [_resolved(part, files.get) for part in content]}


def _resolved(part: Any, file_of: Callable[[str], bytes | None]) -> Any:
    found = _reference_of(part)
    data = None if found is None else file_of(found[2])
    if found is None or data is None:
        return part
    kind = part["type"]
    text = base64.b64encode(data).decode()
    if kind != "input_audio":
        text = f"data:{found[1]};base64,{text}"
    return {**part, kind: {**part[kind], PLACES[kind]: text}}


def _reference_of(part: Any) -> re.Match[str] | None:
    kind = part.get("type") if isinstance(part, dict) else None
    place = PLACES.get(kind) if isinstance(kind, str) else None
    payload = part.get(kind) if place is not None else None
    text = payload.get(place) if isinstance(payload, dict) else None
    return REFERENCE.fullmatch(text) if isinstance(text, str) else None


def with_media(messages: list[dict[str, Any]], parts: list[Part]) -> list[dict[str, Any]]:
    """Return the conversation with `parts` at the end of its last user message, or in one of their own."""
    at = max((place for place, message in enumerate(messages) if message.get("role") == "user"), default=None)
    if at is None:
        return [*messages, user("", parts)]
    return [*messages[:at], messages[at] | user(messages[at].get("content") or "", parts), *messages[at + 1 :]]
