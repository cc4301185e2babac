"""The shape of an assistant's message in a snapshot, as far as the fold reads it. Other fields are passed through."""

from __future__ import annotations

import base64
from typing import Any, TypedDict

import msgspec


class CallBody(TypedDict, total=False):
    name: str
    arguments: str
    input: str


class SnapshotCall(TypedDict, total=False):
    id: str
    type: str
    index: int
    function: CallBody | None
    custom: CallBody | None


class SnapshotAudio(TypedDict, total=False):
    data: str
    transcript: str


class SnapshotMessage(TypedDict, total=False):
    content: str | None
    reasoning: str | None
    refusal: str | None
    reasoning_details: list[Any]
    tool_calls: list[SnapshotCall]
    audio: SnapshotAudio
    annotations: list[Any]
    images: list[Any]
    citations: list[Any]


def check_message(message: dict[str, Any]) -> None:
    """Raise `msgspec.ValidationError` for a message that the fold cannot apply."""
    check_base64(msgspec.convert(message, SnapshotMessage).get("audio", {}).get("data", ""))


def check_base64(text: str) -> None:
    try:
        base64.b64decode(text)
    except ValueError as error:
        raise msgspec.ValidationError(f"no base64: {error}") from None
