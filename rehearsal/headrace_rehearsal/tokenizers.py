"""Counts of tokens: by bytes, which needs nothing, or with the byte-pair encoding of real models (the package `rs-bpe`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from headrace_rehearsal.asked import text_of
from headrace_rehearsal.prompt import tokens

OF_A_MESSAGE, OF_A_REQUEST = 4, 3
"""Tokens that a real provider adds for the frame of each message, and for the beginning of the answer."""
ENCODINGS = ("cl100k_base", "o200k_base")


class ByteTokens:
    """A token for each 3.5 bytes of text; schemas and frames of messages cost nothing."""

    def of_text(self, text: str) -> int:
        return tokens(text)

    def of_request(self, body: dict[str, Any]) -> int:
        return sum(tokens(text_of(message)) for message in body["messages"])


class BytePairTokens:
    """The tokens of a real vocabulary, with those of messages' frames and of the schema as it was sent."""

    def __init__(self, encoding: str):
        from rs_bpe.bpe import openai

        self._count: Callable[[str], int] = getattr(openai, encoding)().count

    def of_text(self, text: str) -> int:
        return self._count(text)

    def of_request(self, body: dict[str, Any]) -> int:
        messages = sum(OF_A_MESSAGE + self._count(text_of(message)) for message in body["messages"])
        wanted = body.get("response_format")
        named = wanted.get("json_schema") if isinstance(wanted, dict) else None
        schema = named.get("schema") if isinstance(named, dict) else None
        return OF_A_REQUEST + messages + (self._count(msgspec.json.encode(schema).decode()) if schema else 0)
