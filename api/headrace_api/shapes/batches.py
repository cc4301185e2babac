"""`/v1/batches`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from headrace.jobs.cache_mode import Cache
from headrace_api.shapes.lists import AfterId, ListPage

Endpoint = Literal["/v1/chat/completions", "/v1/responses"]


class BatchOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """headrace's additions to OpenAI's fields: rows for a prompt, and schemas that are validated."""

    template: (
        Annotated[
            dict[str, Any], Meta(description="`model`, `prompt`, `system`, `options`: the lines are rows, `{…}`.")
        ]
        | None
    ) = None
    schema: Annotated[dict[str, Any], Meta(description="A JSON Schema that every answer is held to.")] | None = None
    schema_name: Annotated[str, Meta(description="What the provider is told it is called.")] | None = None
    mode: Annotated[str, Meta(description="How a schema is put to the model.")] | None = None
    reasks: Annotated[int, Meta(description="How often an invalid answer is asked for again.")] | None = None
    lax: Annotated[bool, Meta(description='True: `"3"` may be 3.')] | None = None
    cache: (
        Annotated[
            Cache, Meta(description="`on`: lines that were answered before are not paid again ([spend.md](spend.md)).")
        ]
        | None
    ) = None
    variant: Annotated[str, Meta(description="With `cache`: another text has answers of its own.")] | None = None
    weight: Annotated[int, Meta(ge=1, le=100, description="Its share beside other batches, 10 by default.")] | None = (
        None
    )
    budget: (
        Annotated[
            str | float,
            Meta(description="The most that it may cost in US dollars: it pauses before it could cost more."),
        ]
        | None
    ) = None
    allow_unpriced: Annotated[bool, Meta(description="With a `budget`: calls whose price is unknown pass.")] | None = (
        None
    )
    economy: (
        Annotated[
            bool | Literal["fallback"],
            Meta(
                description="The service tier `flex`; `fallback`: the standard one for calls that find no room there."
            ),
        ]
        | None
    ) = None
    on_bad_row: (
        Annotated[Literal["fail", "skip"], Meta(description="`skip` makes error lines of rows that cannot be used.")]
        | None
    ) = None


class ExpiryPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a file expires."""

    anchor: Literal["created_at"]
    seconds: Annotated[int, Meta(ge=3600, le=2_592_000)]


class BatchCreate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A batch over an uploaded file, a request or a row in each line."""

    input_file_id: str
    endpoint: Endpoint
    completion_window: Literal["24h"]
    metadata: Annotated[dict[str, str], Meta(max_length=16)] | None = None
    output_expires_after: ExpiryPolicy | None = None
    headrace: BatchOptions | None = None


class BatchLineError(msgspec.Struct, frozen=True, kw_only=True):
    """A fault in a line of the input."""

    code: str
    line: int | None
    message: str
    param: str | None


class BatchErrors(msgspec.Struct, frozen=True, kw_only=True):
    """The faults of the input: up to 100 lines, and the count of all."""

    object: Literal["list"]
    data: list[BatchLineError]


class RequestCounts(msgspec.Struct, frozen=True, kw_only=True):
    """The lines of a batch by what became of them."""

    total: int
    completed: int
    failed: int


class InputTokensDetails(msgspec.Struct, frozen=True, kw_only=True):
    """Of the tokens that were read, those from the provider's cache."""

    cached_tokens: int


class OutputTokensDetails(msgspec.Struct, frozen=True, kw_only=True):
    """Of the tokens that were written, those of reasoning."""

    reasoning_tokens: int


class TokenUsage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens that were paid for."""

    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int


class BatchObject(msgspec.Struct, frozen=True, kw_only=True):
    """A batch. Times are seconds since 1970."""

    id: str
    object: Literal["batch"]
    endpoint: Endpoint
    model: str | None
    errors: BatchErrors | None
    input_file_id: str
    completion_window: str
    status: Literal[
        "validating", "failed", "in_progress", "finalizing", "completed", "expired", "cancelling", "cancelled"
    ]
    output_file_id: str | None
    error_file_id: str | None
    created_at: int
    in_progress_at: int | None
    expires_at: int | None
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: RequestCounts
    usage: TokenUsage
    metadata: dict[str, str] | None


class BatchPage(ListPage, frozen=True, kw_only=True):
    """A page of batches."""

    data: list[BatchObject]


class BatchQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The page of batches to list."""

    limit: Annotated[int, Meta(ge=1, le=100)] = 20
    after: AfterId | None = None


class BatchRetry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The codes of the failures to run again; none for all."""

    codes: list[str] | None = None


class LineAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of a provider, or of headrace, to a line."""

    status_code: int
    request_id: str
    body: Annotated[dict[str, Any], Meta(description="The object of the line's endpoint, or an error.")]


class LineFailure(msgspec.Struct, frozen=True, kw_only=True):
    """The reason why a line never ran."""

    code: str
    message: str


class BatchLine(msgspec.Struct, frozen=True, kw_only=True):
    """One line of an output or an error file."""

    id: str
    custom_id: str
    response: LineAnswer | None
    error: LineFailure | None
