"""`/v1/chat/completions`, and what other routes take of it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from headrace.chat.options import COMPATIBLE, Options
from headrace.jobs.cache_mode import Cache

Message = Annotated[
    dict[str, Any], Meta(description="As OpenAI's: `role`, `content` (a text, or parts), `tool_calls`, `tool_call_id`.")
]
Tool = Annotated[dict[str, Any], Meta(description="As OpenAI's: `function` with a JSON Schema, or `custom`.")]
OPTION_NAMES = (COMPATIBLE - {"n"}) | {"parallel_tool_calls"}
"""Options that stand in the body under their own names."""
ChatOptions = msgspec.defstruct(
    "ChatOptions",
    [(field.name, field.type, None) for field in msgspec.structs.fields(Options) if field.name in OPTION_NAMES],
    kw_only=True,
    module=__name__,
)


class HeadraceOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The object `headrace` of a body: what OpenAI has no field for."""

    timeout_s: Annotated[int, Meta(ge=1, description="Seconds the job may take, waits included.")] | None = None
    ttl_s: Annotated[int, Meta(ge=1, description="Seconds for which its result stays.")] | None = None
    idempotency_key: Annotated[str, Meta(description="As the header `Idempotency-Key`.")] | None = None
    join: (
        Annotated[
            bool,
            Meta(description="False: no answer that an equal request left without ([repeats](#repeats))."),
        ]
        | None
    ) = None
    on_disconnect: (
        Annotated[
            Literal["continue", "cancel"],
            Meta(description="`cancel`: the job is cancelled when its client leaves (chat completions)."),
        ]
        | None
    ) = None
    on_retry: (
        Annotated[
            Literal["fail", "reset"],
            Meta(description="`reset`: a streamed answer that breaks off begins anew, where the view can say so."),
        ]
        | None
    ) = None
    cache: (
        Annotated[
            Cache,
            Meta(description="`on`: an answer that was paid for before is given again ([spend.md](spend.md))."),
        ]
        | None
    ) = None
    variant: Annotated[str, Meta(description="With `cache`: another text has answers of its own.")] | None = None
    mode: Annotated[str, Meta(description="How a schema is put to the model ([schemas.md](schemas.md)).")] | None = None
    reasks: (
        Annotated[int, Meta(ge=0, description="How often an answer that does not fit its schema is asked for again.")]
        | None
    ) = None
    lax: Annotated[bool, Meta(description='True: `"3"` may be 3.')] | None = None
    options: Annotated[dict[str, Any], Meta(description="Options by the names they have in the SDK.")] | None = None
    prefilling: Annotated[str, Meta(description="The beginning of the answer.")] | None = None


class StreamOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The content of a stream beside its deltas."""

    include_usage: Annotated[bool, Meta(description="The last chunk has the tokens.")] = False


class ChatCompletionRequest(ChatOptions, kw_only=True):
    """A conversation, and what the answer is to be. A field that is not here goes to the provider as it is."""

    model: Annotated[str, Meta(description="An alias, or `provider/model`.")]
    messages: Annotated[list[Message], Meta(min_length=1)]
    tools: list[Tool] | None = None
    tool_choice: str | dict[str, Any] | None = None
    response_format: (
        Annotated[dict[str, Any], Meta(description='`{"type": "json_schema", "json_schema": {"name", "schema"}}`, …')]
        | None
    ) = None
    max_completion_tokens: Annotated[int, Meta(ge=1)] | None = None
    n: Annotated[int, Meta(ge=1, le=8)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    headrace: HeadraceOptions | None = None


class ChatUsage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens, where they are known."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: dict[str, int] | None = None
    completion_tokens_details: dict[str, int] | None = None


class Logprobs(msgspec.Struct, frozen=True, kw_only=True):
    """Log probabilities of the tokens, as OpenAI's."""

    content: list[dict[str, Any]] | None
    refusal: list[dict[str, Any]] | None


class ChatMessage(msgspec.Struct, frozen=True, kw_only=True):
    """The assistant's message. With a schema, `content` is the validated value as JSON."""

    role: Literal["assistant"]
    content: str | None
    refusal: str | None
    tool_calls: list[dict[str, Any]] | None = None
    audio: dict[str, Any] | None = None
    annotations: list[Any] | None = None
    images: list[Any] | None = None
    reasoning_content: Annotated[str, Meta(description="The text of the model's reasoning.")] | None = None
    reasoning_details: Annotated[list[Any], Meta(description="The provider's own form of it.")] | None = None


FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "function_call"]


class ChatChoice(msgspec.Struct, frozen=True, kw_only=True):
    """One answer."""

    index: int
    message: ChatMessage
    finish_reason: FinishReason
    logprobs: Logprobs | None


class ChatCompletionObject(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a conversation."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: Annotated[str, Meta(description="The model that answered, as its provider names it.")]
    choices: list[ChatChoice]
    usage: ChatUsage | None
    service_tier: str | None = None
    system_fingerprint: str | None = None
    citations: list[Any] | None = None
    extra: Annotated[dict[str, Any], Meta(description="The cost in USD, and how the answer was read.")] | None = None


class ChatDelta(msgspec.Struct, frozen=True, kw_only=True):
    """The addition of a chunk to a choice's message."""

    role: Literal["assistant"] | None = None
    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[dict[str, Any]] | None = None


class ChunkChoice(msgspec.Struct, frozen=True, kw_only=True):
    """One choice in a chunk."""

    index: int
    delta: ChatDelta
    finish_reason: FinishReason | None
    logprobs: Logprobs | None = None


class ChatCompletionChunk(msgspec.Struct, frozen=True, kw_only=True):
    """The data of one event; the last event's is `[DONE]`."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: ChatUsage | None = None
    service_tier: str | None = None
    system_fingerprint: str | None = None
