"""`/v1/jobs`: submit, show, cancel and retry a job, and issue a stream token."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request, Response, get, post

from headrace.chat.completion import Outcome
from headrace.errors import Expired, InputError, Unknown
from headrace.jobs.build import TIMEOUT_S
from headrace.ledger.cancel import cancel as cancel_job
from headrace.ledger.state import TERMINAL, JobState
from headrace_api.auth import CANCEL, EVERY_JOB, READ, SUBMIT, TOKEN_S
from headrace_api.requests.chat_completions import read_chat_request, read_object, sized
from headrace_api.requests.submission import key_of
from headrace_api.requests.synchronous_request import SynchronousRequest
from headrace_api.shapes.chat import ChatCompletionRequest
from headrace_api.shapes.jobs import (
    JobListQuery,
    JobObject,
    JobPage,
    JobReceipt,
    StatusReceipt,
    StreamToken,
    TokenRequest,
)
from headrace_api.shapes.operation import Operation
from headrace_api.state import Gateway

MAX_LISTED = 10_000


def as_json(value: Any, status: int = 200, **headers: str) -> Response[bytes]:
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Response(msgspec.json.encode(value), status_code=status, media_type="application/json", headers=named)


@post("/v1/jobs", operation=Operation(body=ChatCompletionRequest, answer=JobReceipt, status=202))
async def submit(request: Request[Any, Any, Any], gateway: Gateway) -> Response[bytes]:
    """Accept OpenAI's chat-completions body as a job; deltas are streamed unless it says `"stream": false`."""
    gateway.allow(request, EVERY_JOB, SUBMIT)
    raw = await request.body()
    body = await sized(len(raw), read_object, raw)
    asked = await sized(len(raw), read_chat_request, body, streams=body.get("stream") is not False)
    if asked.own.get("on_disconnect"):
        raise InputError("/headrace/on_disconnect: nobody waits for this answer; it is for /v1/chat/completions")
    async with SynchronousRequest(gateway, request, asked, raw, timeout_s=TIMEOUT_S) as question:
        job = await question.submitted()
    state = None
    if key_of(request, asked):  # what was said before may have been answered before
        state = await gateway.job_state(job)
    return as_json(
        {
            "id": job,
            "status": state or "queued",
            "urls": gateway.urls(request, job),
            "stream_token": gateway.gate.sign(job, (READ, CANCEL)),
        },
        202,
        location=f"/v1/jobs/{job}",
        x_headrace_job=job,
    )


@get("/v1/jobs", operation=Operation(query=JobListQuery, answer=JobPage))
async def list_jobs(request: Request[Any, Any, Any], gateway: Gateway) -> Response[bytes]:
    """List the newest jobs of the last 8 days, newest first: `?limit=50`, `?state=dead,failed`."""
    gateway.allow(request, EVERY_JOB, READ)
    query = request.query_params
    states = [state for state in query.get("state", "").split(",") if state]
    if wrong := [state for state in states if state not in list(JobState)]:
        raise InputError(f"state={wrong[0]!r:.60}: must be one of {', '.join(JobState)}")
    limit = query.get("limit", "50")
    if not limit.isascii() or not limit.isdecimal() or not 1 <= int(limit[:9]) <= MAX_LISTED:
        raise InputError(f"limit={limit!r:.60}: must be a whole number from 1 to {MAX_LISTED}")
    return as_json({"object": "list", "data": await gateway.client.jobs(limit=int(limit), states=states)})


@get("/v1/jobs/{job:str}", operation=Operation(answer=JobObject))
async def show(request: Request[Any, Any, Any], job: str, gateway: Gateway) -> Response[bytes]:
    """Return its state; once it has ended, `completion` or `error`."""
    gateway.allow(request, job, READ)
    status = await gateway.job_status(job)
    if status is None:
        raise Unknown(job, "never submitted here, or past its retention of 24 h")
    shown: dict[str, Any] = {
        "id": job,
        "status": status.state,
        "attempts": status.attempts,
        "code": status.code,
        "retry_of": status.retry_of,
        "created_ms": status.created_ms,
        "ended_ms": status.ended_ms,
    }
    if status.state in TERMINAL:
        try:
            shown |= outcome_fields(await gateway.outcome(job))
        except Expired:
            shown |= {"error": {"code": "expired", "message": "its result is past its lifetime"}}
    return as_json(shown)


def outcome_fields(outcome: Outcome | None) -> dict[str, Any]:
    if outcome is None:
        return {}
    return {"completion": outcome.completion} if outcome.completion is not None else {"error": outcome.error}


@post("/v1/jobs/{job:str}/cancel", status_code=200, operation=Operation(answer=StatusReceipt))
async def cancel(request: Request[Any, Any, Any], job: str, gateway: Gateway) -> Response[bytes]:
    """Cancel it; the connection of a call in flight is closed at once. Idempotent before its end, then a 409."""
    gateway.allow(request, job, CANCEL)
    gateway.record(job)
    async with gateway.client.talking():
        return as_json({"id": job, "status": await cancel_job(gateway.client.ledger, job)})


@post("/v1/jobs/{job:str}/retry", status_code=202, operation=Operation(answer=JobReceipt, status=202))
async def retry(request: Request[Any, Any, Any], job: str, gateway: Gateway) -> Response[bytes]:
    """Submit it again as a new job, when it failed, died or was cancelled. Idempotent."""
    gateway.allow(request, job, SUBMIT)
    gateway.record(job)
    new = await gateway.client.retry_job(job)
    return as_json(
        {
            "id": new,
            "retry_of": job,
            "status": "queued",
            "urls": gateway.urls(request, new),
            "stream_token": gateway.gate.sign(new, (READ, CANCEL)),
        },
        202,
        location=f"/v1/jobs/{new}",
        x_headrace_job=new,
    )


@post(
    "/v1/jobs/{job:str}/tokens",
    status_code=201,
    operation=Operation(body=TokenRequest, body_required=False, answer=StreamToken, status=201),
)
async def token(request: Request[Any, Any, Any], job: str, gateway: Gateway) -> Response[bytes]:
    """Issue a fresh stream token, for a page that comes back: `{"scope": ["read", "cancel"]}`."""
    gateway.allow(request, job, SUBMIT)
    raw = await request.body()
    scope = read_object(raw).get("scope", [READ]) if raw else [READ]
    if not isinstance(scope, list) or not scope or any(one not in (READ, CANCEL) for one in scope):
        raise InputError(f"/scope: must be a list of {READ} and {CANCEL}")
    if await gateway.job_state(job) is None:
        raise Unknown(job, "never submitted here, or past its retention of 24 h")
    return as_json({"stream_token": gateway.gate.sign(job, scope), "expires_in_s": TOKEN_S}, 201)
