"""`/v1/jobs`, the streams of jobs, and the routes of agents and pages."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from headrace.chat.completion import Completion
from headrace.errors import Failure
from headrace.ledger.state import JobState
from headrace.ledger.summaries import JobSummary

JobId = Annotated[str, Meta(description="`job_` and 26 letters.")]


class JobUrls(msgspec.Struct, frozen=True, kw_only=True):
    """The URLs of a job's stream and result."""

    events: str
    websocket: str
    result: str


class JobReceipt(msgspec.Struct, frozen=True, kw_only=True):
    """A job was accepted: it will end, whatever happens."""

    id: JobId
    status: JobState
    urls: JobUrls
    stream_token: Annotated[str, Meta(description="Lets a page read and cancel this job alone.")]
    retry_of: JobId | None = None


class JobObject(msgspec.Struct, frozen=True, kw_only=True):
    """A job. Times are milliseconds since 1970."""

    id: JobId
    status: JobState
    attempts: int
    code: Annotated[str, Meta(description="Of a failure: see docs/errors.md. Empty without one.")]
    retry_of: str
    created_ms: int
    ended_ms: int | None
    completion: Completion | None = None
    error: Failure | None = None


class JobPage(msgspec.Struct, frozen=True, kw_only=True):
    """The newest jobs."""

    object: Literal["list"]
    data: list[JobSummary]


class JobListQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The jobs to list."""

    limit: Annotated[int, Meta(ge=1, le=10_000)] = 50
    state: Annotated[str, Meta(description="States, with commas between them.")] | None = None


class StatusReceipt(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a job or a batch after what was asked."""

    id: str
    status: str


class TokenRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The permissions of a stream token."""

    scope: Annotated[list[Literal["read", "cancel"]], Meta(min_length=1)] = msgspec.field(
        default_factory=lambda: ["read"]
    )


class StreamToken(msgspec.Struct, frozen=True, kw_only=True):
    """A token for the stream of one job."""

    stream_token: str
    expires_in_s: int


class EventQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The start of a stream, and its view."""

    after: Annotated[str, Meta(description="The id of the last event that is known; or `now`.")] | None = None
    view: (
        Annotated[str, Meta(description="`native`, `openai`, `responses`, `ui-message-stream` or `ag-ui`.")] | None
    ) = None
    usage: Annotated[bool, Meta(description="Of the view `openai`: the last chunk has the tokens.")] = False


class AfterQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The start of a stream."""

    after: Annotated[str, Meta(description="The id of the last event that is known.")] | None = None


class DurableQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The start of a read, and its duration."""

    offset: Annotated[str, Meta(description="`-1` for the start, `now`, or a `Stream-Next-Offset`.")] | None = None
    live: Literal["long-poll", "sse"] | None = None
    cursor: str | None = None


class UiChatRequest(msgspec.Struct, kw_only=True):
    """A request of the AI SDK's transport. Other fields are those of a chat completion."""

    id: Annotated[str, Meta(min_length=1, max_length=256, description="The chat's.")]
    messages: Annotated[list[dict[str, Any]], Meta(min_length=1, description="UI messages.")]
    model: str | None = None
    trigger: Literal["submit-message", "regenerate-message"] | None = None


class ModelQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The model where the body cannot name one."""

    model: str | None = None


class AgentRun(msgspec.Struct, kw_only=True):
    """AG-UI's `RunAgentInput`. `forwardedProps` are fields of a chat completion."""

    threadId: Annotated[str, Meta(min_length=1, max_length=128)] | None = None
    runId: Annotated[str, Meta(min_length=1, max_length=128)] | None = None
    messages: Annotated[list[dict[str, Any]], Meta(min_length=1)]
    tools: list[dict[str, Any]] | None = None
    forwardedProps: dict[str, Any] | None = None


class StreamPart(msgspec.Struct, kw_only=True):
    """The data of one event, as its protocol defines it."""

    type: str
