"""What one completion is asked for with, and what comes back: `Job`, `Completion`, `Usage`.

A job's body is `Job` as JSON, with `v: 1`. A body of another version is not an error but a rolling deploy: it waits.
"""

from __future__ import annotations

import base64
import secrets
from typing import Any

import msgspec

from headrace.options import Options

BODY_VERSION = 1


def new_id(kind: str) -> str:
    """A fresh id: `job_` or `batch_` and 26 lowercase base32 letters (128 random bits)."""
    return f"{kind}_{base64.b32encode(secrets.token_bytes(16)).decode().rstrip('=').lower()}"


class Job(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One completion asked for.

    `model` is `provider/model`, split at the first slash. `messages` are in OpenAI's shape. `schema` is the caller's own
    JSON Schema, never a lowered one; `schema_name` what the provider is told it is called.
    """

    model: str
    messages: list[dict[str, Any]]
    options: Options = Options()
    schema: dict[str, Any] | None = None
    schema_name: str = "answer"
    stream: bool = False
    v: int = msgspec.field(default=BODY_VERSION)


class Usage(msgspec.Struct, frozen=True, omit_defaults=True):
    """Tokens, as the provider counted them; `cached_tokens` ⊂ `input_tokens`, `reasoning_tokens` ⊂ `output_tokens`."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0

    def counters(self) -> dict[str, int]:
        return {"input_tokens": self.input_tokens, "output_tokens": self.output_tokens}


class Completion(msgspec.Struct, frozen=True, kw_only=True):
    """The answer. `content` is the text as it came; `value` the validated value when a schema was given."""

    id: str
    model: str
    created: int
    content: str | None
    finish_reason: str
    usage: Usage
    refusal: str | None = None
    tool_calls: list[dict[str, Any]] = []
    value: Any = None
    deployment: str = ""


class Failure(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a job or an item failed: a `code` of `headrace.errors.CODES`, and the text that was paid, if any."""

    code: str
    message: str
    status: int | None = None
    partial: str | None = None
    errors: list[str] = []


class Outcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """A job's result as the ledger keeps it: exactly one of the two."""

    completion: Completion | None = None
    error: Failure | None = None
