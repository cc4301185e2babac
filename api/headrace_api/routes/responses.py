"""`/v1/responses`: OpenAI's Responses API over durable jobs: create, fetch, follow, cancel and delete responses."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from litestar import Request, Response, delete, get, post
from litestar.types import ASGIApp

from headrace.chat.completion import Outcome
from headrace.chat.responses_items import references
from headrace.chat.responses_request import INCLUDABLE, check_fields
from headrace.errors import Finished, Gone, InputError, Unknown
from headrace.ledger.cancel import cancel as cancel_job
from headrace.ledger.shorten import shorten
from headrace.ledger.state import TERMINAL
from headrace.storage.response_store import StoredResponse
from headrace_api.auth import CANCEL, EVERY_JOB, READ, SUBMIT
from headrace_api.errors import ApiError, failed
from headrace_api.requests.chat_completions import read_object, sized
from headrace_api.requests.plain_answer import plain_answer
from headrace_api.requests.responses import ResponseQuestion, read_response_request
from headrace_api.response_records import ResponseRecords, end_of, subject_of
from headrace_api.routes.events import AtEnd, EventStream
from headrace_api.routes.jobs import as_json
from headrace_api.shapes.operation import Operation
from headrace_api.shapes.responses import (
    InputItemList,
    ItemQuery,
    ResponseDeleted,
    ResponseEvent,
    ResponseObject,
    ResponseQuery,
    ResponseRequest,
)
from headrace_api.state import Gateway, flag
from headrace_api.streaming.session import StreamSession
from headrace_api.streaming.sse import Encoder
from headrace_api.views import Cursor
from headrace_api.views.openai_responses import OpenAIResponses

CANCEL_S = 5.0
"""Seconds for which a cancellation waits for the worker that has the job."""
MAX_LISTED = 100
LISTED = 20


@post(
    "/v1/responses",
    status_code=200,
    operation=Operation(body=ResponseRequest, answer=ResponseObject, events=ResponseEvent),
)
async def create(request: Request[Any, Any, Any], gateway: Gateway) -> ASGIApp:
    """Answer a request of the Responses API; with `"stream": true` its events; with `"background": true` at once, and the
    answer is fetched later. An equal request is given an answer whose client left without it."""
    gateway.allow(request, EVERY_JOB, SUBMIT)
    raw = await request.body()
    body = await sized(len(raw), read_object, raw)
    named = await sized(len(raw), checked, body)
    if body.get("stream"):
        gateway.check_stream_limit()
    records, previous = ResponseRecords(gateway), body.get("previous_response_id")
    caller = gateway.caller(request)
    earlier = [] if previous is None else await records.conversation(previous, caller)
    known = await records.items(named, caller)
    size = len(raw) if not earlier else 1 << 20
    asked = await sized(
        size, read_response_request, body, earlier=earlier, known=known, ttl_s=gateway.settings.response_ttl_s
    )
    question = ResponseQuestion(
        *(gateway, request, asked, raw), body=body, earlier=earlier, known=known, created_s=int(time.time())
    )
    if not body.get("stream") and not body.get("background"):
        return await plain_answer(gateway, request, question, whole(question))
    async with question:
        job = await question.submitted()
        record = await question.record_of(job)
        if not body.get("stream"):
            shown = as_json(await records.shown(job, record), x_headrace_job=job)
            return shown.to_asgi_response(app=None, request=request)
        # The id of what goes on in the background is told at once, for its client may leave.
        patience_s = None if body.get("background") else question.patience_s
        return await followed(gateway, job, record, patience_s=patience_s, at_end=question.handed_on())


def checked(body: dict[str, Any]) -> list[str]:
    """Check the fields of a body, and return the ids of the items that it names. Raises `InputError`."""
    check_fields(body)
    return references(body.get("input"))


def whole(question: ResponseQuestion) -> Callable[[str, Outcome], Any]:
    """Return what makes the response of a job's outcome, and stores both."""

    async def render(job: str, outcome: Outcome) -> dict[str, Any]:
        record = await question.record_of(job)
        if record.end is not None:  # an idempotency key names an answer that was given before
            return record.end.response
        end = end_of(job, record, outcome, int(time.time()))
        if outcome.error is not None and end.response["status"] not in ("completed", "incomplete"):
            raise failed(job, outcome.error)
        await question.records.save_whole(job, record, end)
        return end.response

    return render


async def followed(
    gateway: Gateway,
    job: str,
    record: StoredResponse,
    *,
    starting_after: int | None = None,
    lasts_s: float | None = None,
    patience_s: float | None = None,
    at_end: AtEnd | None = None,
) -> ASGIApp:
    """Return the events of a response after number `starting_after`, as server-sent events. Its end is stored. With
    `patience_s` a failure before the first of them has its own status, as `events.stream` has it."""
    gateway.check_stream_limit()
    subject = subject_of(job, record, starting_after=starting_after)
    following = StreamSession(gateway, OpenAIResponses, subject, Cursor(), lasts_s=lasts_s, patience_s=patience_s)
    try:
        await following.open()
    except BaseException:
        following.close()
        raise

    def over(*, sent: bool, left: bool) -> None:
        view = following.view
        assert isinstance(view, OpenAIResponses)
        if record.end is None and (end := view.end) is not None:
            ResponseRecords(gateway).answered_soon(job, record, end)
        if at_end is not None:
            at_end(sent=sent, left=left)

    return EventStream(gateway, following, {"x-headrace-job": job}, over, encoder=Encoder(named=True))


# A page's token, for the events of one job, opens none of these: a response tells its instructions and its input.


@get(
    "/v1/responses/{response:str}",
    operation=Operation(query=ResponseQuery, answer=ResponseObject, events=ResponseEvent),
)
async def show(request: Request[Any, Any, Any], response: str, gateway: Gateway) -> ASGIApp:
    """Return a response; with `?stream=true` its events, those after number `?starting_after=`."""
    lasts_s = gateway.allow(request, EVERY_JOB, READ)
    query = request.query_params
    include = query.getall("include[]", []) + query.getall("include", [])
    if wrong := [name for name in include if name not in INCLUDABLE]:
        raise InputError(f"include: must be one of {', '.join(INCLUDABLE)}, not {wrong[0]!r:.80}")
    flag(query.get("include_obfuscation"), "include_obfuscation")
    is_stream, after = flag(query.get("stream"), "stream"), query.get("starting_after")
    if after is not None and not is_stream:
        raise InputError("starting_after: is for `stream=true` only")
    number = None if after is None else sequence_number(after)
    records = ResponseRecords(gateway)
    job, record = await records.load(response)
    if not is_stream:
        shown = as_json(await records.shown(job, record), x_headrace_job=job)
        return shown.to_asgi_response(app=None, request=request)
    try:
        if number is not None and await is_over(gateway, job):
            await check_beyond(gateway, job, record, number)
        return await followed(gateway, job, record, starting_after=number, lasts_s=lasts_s)
    except (Unknown, Gone):
        message = f"the events of {response} are no longer kept; retrieve it without `stream`"
        raise ApiError(410, "gone", message) from None


def sequence_number(text: str) -> int:
    """Return the number of an event. Raises `InputError`."""
    if not text.isascii() or not text.isdecimal() or len(text) > 15:
        raise InputError(f"starting_after: must be the number of an event, 0 or more, not {text!r:.40}")
    return int(text)


async def is_over(gateway: Gateway, job: str) -> bool:
    return await gateway.job_state(job) in TERMINAL


async def check_beyond(gateway: Gateway, job: str, record: StoredResponse, number: int) -> None:
    """Raise `InputError` for a number after that of the last event of a response that has ended."""
    last = await ResponseRecords(gateway).last_number(job, record)
    if number > last:
        raise InputError(f"starting_after: there is no event {number}; the last one is {last}")


def job_of(response: str) -> str:
    """Return the id that the job of a response has, for authorization; it need not exist."""
    return f"job_{response.partition('_')[2]}"


@post("/v1/responses/{response:str}/cancel", status_code=200, operation=Operation(answer=ResponseObject))
async def cancel(request: Request[Any, Any, Any], response: str, gateway: Gateway) -> Response[bytes]:
    """Cancel a background response, and return it. One that has ended is returned as it is."""
    gateway.allow(request, EVERY_JOB, CANCEL)
    records = ResponseRecords(gateway)
    job, record = await records.load(response)
    if not record.request.get("background"):
        raise ApiError(400, "invalid_request", "Only responses with `background: true` can be cancelled.")
    await stopped(gateway, job)
    return as_json(await records.shown(job, record), x_headrace_job=job)


async def stopped(gateway: Gateway, job: str) -> None:
    """Cancel a job, and wait a moment for the worker that has it."""
    try:
        async with gateway.client.talking():
            await cancel_job(gateway.client.ledger, job)
    except (Finished, Unknown):
        return
    await gateway.ended_within(job, CANCEL_S)


@delete("/v1/responses/{response:str}", status_code=200, operation=Operation(answer=ResponseDeleted))
async def remove(request: Request[Any, Any, Any], response: str, gateway: Gateway) -> Response[bytes]:
    """Delete a response: its files, and what the ledger has of it. One that runs is cancelled."""
    gateway.allow(request, EVERY_JOB, CANCEL)
    records = ResponseRecords(gateway)
    job, _ = await records.load(response)
    async with gateway.client.talking():
        try:
            await shorten(gateway.client.ledger, job, ttl_ms=1)
            await cancel_job(gateway.client.ledger, job)
        except (Finished, Unknown):
            pass
    await records.remove(job)
    return as_json({"id": response, "object": "response", "deleted": True})


@get("/v1/responses/{response:str}/input_items", operation=Operation(query=ItemQuery, answer=InputItemList))
async def input_items(request: Request[Any, Any, Any], response: str, gateway: Gateway) -> Response[bytes]:
    """List the items that a response was asked with, the newest first unless `?order=asc`."""
    gateway.allow(request, EVERY_JOB, READ)
    query = request.query_params
    order, after, limit = query.get("order", "desc"), query.get("after"), query.get("limit", str(LISTED))
    if order not in ("asc", "desc"):
        raise InputError(f"order: must be asc or desc, not {order!r:.40}")
    if not limit.isascii() or not limit.isdecimal() or not 1 <= int(limit[:9]) <= MAX_LISTED:
        raise InputError(f"limit: must be a whole number from 1 to {MAX_LISTED}, not {limit!r:.40}")
    _, record = await ResponseRecords(gateway).load(response)
    items = record.input if order == "asc" else record.input[::-1]
    if after is not None:
        place = next((at for at, item in enumerate(items) if item["id"] == after), None)
        if place is None:
            raise InputError(f"after: there is no item {after!r:.80} in this response")
        items = items[place + 1 :]
    page = items[: int(limit)]
    return as_json(
        {
            "object": "list",
            "data": page,
            "first_id": page[0]["id"] if page else "",
            "last_id": page[-1]["id"] if page else "",
            "has_more": len(items) > len(page),
        }
    )
