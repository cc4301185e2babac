"""`/v1/responses`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from headrace.chat.responses_request import EFFORTS, INCLUDABLE, MAX_TOP_LOGPROBS, SUMMARIES, TIERS, VERBOSITIES
from headrace_api.shapes.chat import HeadraceOptions

InputItem = Annotated[
    dict[str, Any],
    Meta(
        description="`message`, `function_call`, `function_call_output`, `custom_tool_call`, `custom_tool_call_output`, "
        "`reasoning`, or an `item_reference` to an item of a stored response."
    ),
]
OutputItem = Annotated[
    dict[str, Any], Meta(description="`message`, `reasoning`, `function_call` or `custom_tool_call`, as OpenAI's.")
]
ResponseTool = Annotated[dict[str, Any], Meta(description="`function` with a JSON Schema, or `custom`.")]
Include = Literal[INCLUDABLE]


class ReasoningOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The amount of reasoning, and the part of it that is shown."""

    effort: Literal[EFFORTS] | None = None  # type: ignore[valid-type]
    summary: Literal[SUMMARIES] | None = None  # type: ignore[valid-type]
    generate_summary: Literal[SUMMARIES] | None = None  # type: ignore[valid-type]


class TextOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The form of the text."""

    format: (
        Annotated[
            dict[str, Any], Meta(description='`{"type": "json_schema", "name", "schema"}`, `text`, `json_object`')
        ]
        | None
    ) = None
    verbosity: Literal[VERBOSITIES] | None = None  # type: ignore[valid-type]


class ResponseStreamOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Taken, and without effect: nothing is padded."""

    include_obfuscation: bool | None = None


class ResponseRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The request for a response."""

    model: Annotated[str, Meta(description="An alias, or `provider/model`.")]
    input: str | list[InputItem] | None = None
    instructions: str | None = None
    tools: list[ResponseTool] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    text: TextOptions | None = None
    reasoning: ReasoningOptions | None = None
    max_output_tokens: Annotated[int, Meta(ge=1)] | None = None
    max_tool_calls: Annotated[int, Meta(ge=1)] | None = None
    metadata: Annotated[dict[str, str], Meta(max_length=16)] | None = None
    include: list[Include] | None = None  # type: ignore[valid-type]
    store: (
        Annotated[bool, Meta(description="False: kept for an hour, and no other response can continue it.")] | None
    ) = None
    stream: bool | None = None
    stream_options: ResponseStreamOptions | None = None
    background: Annotated[bool, Meta(description="True: answered at once, and fetched later.")] | None = None
    previous_response_id: Annotated[str, Meta(description="The stored response that it continues.")] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=MAX_TOP_LOGPROBS)] | None = None
    truncation: Annotated[Literal["auto", "disabled"], Meta(description="Without effect: nothing is cut.")] | None = (
        None
    )
    service_tier: Literal[TIERS] | None = None  # type: ignore[valid-type]
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: Literal["in_memory", "24h"] | None = None
    headrace: HeadraceOptions | None = None


class ResponseErrorObject(msgspec.Struct, frozen=True, kw_only=True):
    """The reason of a failed response."""

    code: str
    message: str


class IncompleteDetails(msgspec.Struct, frozen=True, kw_only=True):
    """The reason of an incomplete response."""

    reason: Literal["max_output_tokens", "content_filter"]


class ResponseInputDetails(msgspec.Struct, frozen=True, kw_only=True):
    """Of the tokens that were read, those of the provider's cache."""

    cached_tokens: int
    cache_write_tokens: int


class ResponseOutputDetails(msgspec.Struct, frozen=True, kw_only=True):
    """Of the tokens that were written, those of reasoning."""

    reasoning_tokens: int


class ResponseUsage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens, where they are known."""

    input_tokens: int
    input_tokens_details: ResponseInputDetails
    output_tokens: int
    output_tokens_details: ResponseOutputDetails
    total_tokens: int


class ResponseObject(msgspec.Struct, frozen=True, kw_only=True):
    """A response, and what it was asked with. Times are seconds since 1970."""

    id: str
    object: Literal["response"]
    created_at: int
    status: Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]
    background: bool
    completed_at: int | None
    error: ResponseErrorObject | None
    incomplete_details: IncompleteDetails | None
    instructions: str | None
    max_output_tokens: int | None
    max_tool_calls: int | None
    metadata: dict[str, str]
    model: str
    output: list[OutputItem]
    parallel_tool_calls: bool
    previous_response_id: str | None
    prompt_cache_key: str | None
    prompt_cache_retention: str | None
    reasoning: dict[str, Any]
    safety_identifier: str | None
    service_tier: str | None
    temperature: float | None
    text: dict[str, Any]
    tool_choice: str | dict[str, Any]
    tools: list[dict[str, Any]]
    top_logprobs: int | None
    top_p: float | None
    truncation: Literal["auto", "disabled"]
    usage: ResponseUsage | None
    user: str | None


class ResponseEvent(msgspec.Struct, frozen=True, kw_only=True):
    """The data of one event. Its other fields depend on its type, and are OpenAI's."""

    type: Annotated[str, Meta(pattern=r"^response\.|^error$", description="`response.output_text.delta`, …")]
    sequence_number: Annotated[int, Meta(ge=0, description="Without a gap, for every viewer alike.")]


class ResponseDeleted(msgspec.Struct, frozen=True, kw_only=True):
    """The receipt of a deletion."""

    id: str
    object: Literal["response"]
    deleted: Literal[True]


class InputItemList(msgspec.Struct, frozen=True, kw_only=True):
    """A page of the items that a response was asked with."""

    object: Literal["list"]
    data: list[InputItem]
    first_id: str
    last_id: str
    has_more: bool


class ResponseQuery(msgspec.Struct, frozen=True, kw_only=True):
    """In which form a response is fetched."""

    stream: Annotated[bool, Meta(description="True: its events.")] = False
    starting_after: Annotated[int, Meta(ge=0, description="With `stream`: those behind this one.")] | None = None
    include_obfuscation: bool | None = None
    include: list[Include] | None = None  # type: ignore[valid-type]


class ItemQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The page of items to list."""

    limit: Annotated[int, Meta(ge=1, le=100)] = 20
    order: Literal["asc", "desc"] = "desc"
    after: Annotated[str, Meta(description="The id of the last item of the page before.")] | None = None
