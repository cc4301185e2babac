"""`/v1/streams/{id}`: the event log of a job or a batch for clients of the Durable Streams protocol, read-only.

Nothing of it may be cached: it holds prompts and answers. Its `ETag` saves the bytes of a read that was made before.
"""

from __future__ import annotations

import asyncio
from typing import Any

from litestar import Request, Response, get, head
from litestar.types import ASGIApp

from headrace.errors import Gone, InputError, Unknown
from headrace.events.ids import Event, EventId
from headrace.events.log_buffer import Tail, read_entries, read_tail
from headrace.waiting import retry_read
from headrace_api.auth import READ
from headrace_api.routes.events import EventStream, left
from headrace_api.shapes.jobs import DurableQuery, StreamPart
from headrace_api.shapes.operation import Operation
from headrace_api.state import JOB_ID_CHARS, Gateway
from headrace_api.streaming.durable import (
    DurableSession,
    EventEncoder,
    check_retained,
    messages_of,
    next_cursor,
    offset_of,
    parse_offset,
)

PAGE = 200
MAX_BYTES = 1 << 20
"""Bytes of a response after which it ends, with the offset to go on from."""
LONG_POLL_S = 20.0
CLOSED_PAUSE_S = 1.0
"""Clients that do not know of `Stream-Closed`, as that for Python, ask for ever."""
JSON = {"content-type": "application/json"}
NOT_EMBEDDED = {"cross-origin-resource-policy": "cross-origin"}
"""Pages of other sites may read it as far as CORS lets them."""


@head("/v1/streams/{stream:str}", operation=Operation())
async def metadata(request: Request[Any, Any, Any], stream: str, gateway: Gateway) -> Response[None]:
    """Return the offset of its end in `Stream-Next-Offset`; `Stream-Closed` when nothing will follow."""
    gateway.allow(request, stream, READ)
    tail = await tail_of(gateway, record_of(gateway, stream), stream)
    return Response(None, headers=JSON | NOT_EMBEDDED | headers_of(tail.id, tail), media_type="application/json")


@get(
    "/v1/streams/{stream:str}", operation=Operation(query=DurableQuery, answer=list[dict[str, Any]], events=StreamPart)
)
async def read(request: Request[Any, Any, Any], stream: str, gateway: Gateway) -> ASGIApp:
    """Return the events after `offset` as a JSON array: at once, or with `live=long-poll` when there are some, or with
    `live=sse` as they come."""
    lasts_s = gateway.allow(request, stream, READ)
    query = request.query_params
    offset, live = parse_offset(query.get("offset")), query.get("live")
    if live not in (None, "long-poll", "sse"):
        raise InputError(f"live={live!r:.40}: must be long-poll or sse")
    if live is not None and "offset" not in query:
        raise InputError("offset: is missing; a live read begins at one, -1 is the start")
    record = record_of(gateway, stream)
    tail = await tail_of(gateway, record, stream)
    after = tail.id if offset == "now" else offset
    if after > tail.id:
        raise Gone(stream, tail.id)  # the ledger has lost what was read
    if live is None and offset == "now":
        return answer(request, b"[]", NOT_EMBEDDED | headers_of(tail.id, tail))
    if live == "sse":
        return await live_stream(gateway, record, after, query.get("cursor"), lasts_s)
    live_headers = {"stream-cursor": next_cursor(query.get("cursor"))} if live else {}
    if live and after == tail.id:
        if tail.ended:
            await asyncio.sleep(CLOSED_PAUSE_S)
        events = [] if tail.ended else await wait_for_events(gateway, request, record, after)
        if not events:
            named = NOT_EMBEDDED | live_headers | headers_of(after, tail)
            return answer(request, b"", named, 204)
        tail = await tail_of(gateway, record, stream)
    else:
        events = await read_events(gateway, record, after)
        if events and events[-1].id > tail.id:  # written since
            tail = await tail_of(gateway, record, stream)
    end = events[-1].id if events else after
    named = NOT_EMBEDDED | live_headers | headers_of(end, tail)
    named["etag"] = etag = f'"{stream}:{offset_of(after)}:{offset_of(end)}:{"c" if "stream-closed" in named else "o"}"'
    if etag in {given.strip() for given in request.headers.get("if-none-match", "").split(",")}:
        return answer(request, b"", named, 304)
    return answer(request, messages_of(events), named)


def answer(request: Request[Any, Any, Any], body: bytes, headers: dict[str, str], status: int = 200) -> ASGIApp:
    """Return a whole response; with a body it is JSON."""
    response = Response(body, status_code=status, headers=headers, media_type="application/json" if body else None)
    return response.to_asgi_response(app=None, request=request)


def record_of(gateway: Gateway, stream: str) -> str:
    """Return the key of a job or a batch. Raises `Unknown`."""
    if not stream.startswith("batch_"):
        return gateway.record(stream)
    if not stream.isascii() or not stream.isidentifier() or len(stream) > JOB_ID_CHARS:
        raise Unknown(stream[:JOB_ID_CHARS], "no id of a batch")
    return gateway.client.ledger.keys.batch(stream)


async def tail_of(gateway: Gateway, record: str, stream: str) -> Tail:
    """Return the end of a log. Raises `Unknown`."""
    tail = await retry_read(lambda: read_tail(gateway.client.ledger, record))
    if tail is None:
        raise Unknown(stream, "never submitted here, or past its retention")
    return tail


def headers_of(end: EventId, tail: Tail) -> dict[str, str]:
    """Return the headers of a read that ended at `end`."""
    headers = {"stream-next-offset": offset_of(end)}
    if end >= tail.id:
        headers["stream-up-to-date"] = "true"
        if tail.ended:
            headers["stream-closed"] = "true"
    return headers


async def read_events(gateway: Gateway, record: str, after: EventId) -> list[Event]:
    """Return the stored events after an offset, `MAX_BYTES` of them or a little more. Raises `Gone`."""
    events: list[Event] = []
    size, at = 0, after
    while size < MAX_BYTES:
        entries = await retry_read(lambda at=at: read_entries(gateway.client.ledger, record, f"({at}", "+", PAGE))
        page = [Event(EventId.parse(id), data) for id, data in entries]
        if page and not events:
            check_retained(page, after, record)
        for event in page:
            events.append(event)
            size += len(event.data)
            if size >= MAX_BYTES:
                break
        if len(page) < PAGE:
            break
        at = page[-1].id
    return events


async def wait_for_events(
    gateway: Gateway, request: Request[Any, Any, Any], record: str, after: EventId
) -> list[Event]:
    """Wait for the next events of a log, `LONG_POLL_S` at most, or until the client leaves or the gateway drains; none then.
    Raises `ApiError` when too many wait, and `Gone`."""
    with gateway.stream_slot(), await gateway.follow(record, after) as viewer:
        coming = asyncio.ensure_future(viewer.next())
        ends = {asyncio.ensure_future(left(request.receive)), asyncio.ensure_future(gateway.draining.wait())}
        try:
            await asyncio.wait({coming, *ends}, timeout=LONG_POLL_S, return_when=asyncio.FIRST_COMPLETED)
            if not coming.done():
                return []
            try:
                events = coming.result()
            except StopAsyncIteration:
                return []
            check_retained(events, after, record)
            return events
        finally:
            for task in (coming, *ends):
                task.cancel()


async def live_stream(
    gateway: Gateway, record: str, after: EventId, cursor: str | None, lasts_s: float | None
) -> ASGIApp:
    """Return the response that writes events as they come. Raises `Gone`, and `ApiError` when too many are open."""
    next_cursor(cursor)  # what is wrong with it is told by a status
    gateway.check_stream_limit()
    entries = await retry_read(lambda: read_entries(gateway.client.ledger, record, f"({after}", "+", 1))
    if entries:
        check_retained([Event(EventId.parse(id), data) for id, data in entries], after, record)
    session = DurableSession(
        record,
        await gateway.follow(record, after),
        after,
        is_behind=bool(entries),
        drain=gateway.draining,
        heartbeat_s=gateway.settings.heartbeat_s,
        lasts_s=float("inf") if lasts_s is None else lasts_s,
        cursor=cursor,
    )
    return EventStream(gateway, session, NOT_EMBEDDED, encoder=EventEncoder())
