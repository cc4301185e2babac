"""The request for one completion: `Job`.

A job's body is `Job` as JSON, with `v: 1`. A body of another version is no error but a rolling deploy: the job is left for
a newer worker.
"""

from __future__ import annotations

import base64
import secrets
from typing import Any, Literal

import msgspec

from headrace.chat.options import Options
from headrace.chat.routing import Routing
from headrace.jobs.cache_mode import StoredCache
from headrace.schema.modes import Mode

BODY_VERSION = 1


def new_id(kind: str) -> str:
    """Return a fresh id: `job_` or `batch_` and 26 lowercase base32 letters (128 random bits)."""
    return f"{kind}_{base64.b32encode(secrets.token_bytes(16)).decode().rstrip('=').lower()}"


class Job(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One completion asked for.

    `model` is `provider/model`, split at the first slash; `fallbacks` are the models that are tried in its place, in order,
    when its provider fails; `routing` divides calls among all of them. `messages` are in OpenAI's shape. `schema` is the caller's
    own
    JSON Schema, never a lowered one; `schema_name` what the provider is told it is called. `response_format` is one in
    the provider's shape, instead of a schema: its answer is valid under the schema in it, or an object where it has none;
    not with `envelope`: then whoever made the format reads the answer. `tools` are in the provider's shape, `tool_choice`
    is a choice as `ToolDefinitions` takes it. `prefilling` is the beginning of the answer, `parser` the name of the parser
    that reads it (`typed_xml`). `stream` shows the answer as it comes; `on_retry` is what to do when it breaks off after
    something was shown: `fail`, or begin anew (`reset`), which clears what was shown.

    `mode` is how the schema is put to the model (`headrace.schema.modes`; None: as the model's profile says). An answer that
    does not fit it is asked for again up to `reasks` times, with what was wrong; with `lax` values of the wrong type that
    can only mean one thing are taken. `cache` is how the answer cache is used (`cache_mode`); `variant` names a sample of its own
    among answers to the same question. With `standard_fallback` a call in the service tier `flex` that finds no room
    there is made again in the standard one. `prefix_key` names the beginning that it shares with others (`prompt_prefix`).
    """

    model: str
    messages: list[dict[str, Any]]
    options: Options = Options()
    schema: dict[str, Any] | None = None
    schema_name: str = "answer"
    response_format: dict[str, Any] | None = None
    envelope: bool = False
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    prefilling: str | None = None
    parser: str | None = None
    mode: Mode | None = None
    reasks: int = 0
    lax: bool = False
    stream: bool = False
    on_retry: Literal["fail", "reset"] = "fail"
    cache: StoredCache = False
    variant: str = ""
    standard_fallback: bool = False
    fallbacks: list[str] = []
    routing: Routing | None = None
    prefix_key: str = ""
    v: int = msgspec.field(default=BODY_VERSION)
