"""`GET /v1/jobs/{id}/events`: a job's events as server-sent events, from any cursor, in any view."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Iterable, Iterator
from typing import Any, Protocol

from litestar import Request, get
from litestar.types import ASGIApp, Receive, Scope, Send

from headrace.errors import InputError
from headrace.events.types import KnownJobEvent
from headrace_api.auth import READ
from headrace_api.errors import ApiError, send_error
from headrace_api.shapes.jobs import EventQuery
from headrace_api.shapes.operation import Operation
from headrace_api.state import Gateway, flag
from headrace_api.streaming.inactivity_timer import InactivityTimer
from headrace_api.streaming.session import StreamSession
from headrace_api.streaming.sse import HEADERS, HEARTBEAT, PIECE_BYTES, Encoder
from headrace_api.views import Cursor, Frame, Subject, View, view_named


class AtEnd(Protocol):
    """Callback with `sent`: True if the whole stream was sent; otherwise `left` is True if its client closed the connection,
    False if it was the gateway that ended it."""

    def __call__(self, *, sent: bool, left: bool) -> None: ...


class FrameEncoder(Protocol):
    """Writes groups of frames as bytes, in pieces of a bounded size."""

    def pieces(self, frames: Iterable[Frame]) -> Iterator[bytes]: ...


class Following(Protocol):
    """Source of a response: groups of frames, an empty one for a heartbeat. See `StreamSession`."""

    last: str
    unsent: bool
    problem: ApiError | None

    def groups(self, gone: asyncio.Future[Any]) -> AsyncGenerator[list[Frame]]: ...
    def close(self) -> None: ...


class EventStream:
    """An ASGI application: one response, written as the frames come. A disconnect of the client ends it, and not the job."""

    def __init__(
        self,
        gateway: Gateway,
        following: Following,
        headers: dict[str, str],
        at_end: AtEnd | None = None,
        *,
        encoder: FrameEncoder | None = None,
    ):
        self._gateway = gateway
        self._following = following
        self._headers = headers
        self._at_end = at_end
        self._encoder = encoder or Encoder()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        gone = asyncio.ensure_future(left(receive))
        aborted = False
        try:
            with self._gateway.stream_slot(), contextlib.suppress(OSError):
                aborted = not await self._write(scope, send, gone)
        finally:
            has_left = gone.done() and not aborted
            gone.cancel()
            self._following.close()
            if self._at_end is not None:
                self._at_end(sent=self._following.last == "end", left=has_left)

    async def _write(self, scope: Scope, send: Send, gone: asyncio.Future[Any]) -> bool:
        """Write the response. Return False if its client read so slowly that the connection was given up."""
        encoder = self._encoder
        headers = [(name.encode(), value.encode()) for name, value in (HEADERS | self._headers).items()]
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(None) as patience:
                slow = InactivityTimer(self._gateway.settings.slow_reader_s, lambda: patience.reschedule(loop.time()))
                begun = not self._following.unsent
                try:
                    if begun:
                        await self._begin(send, slow, headers)
                    async with contextlib.aclosing(self._following.groups(gone)) as groups:
                        async for group in groups:
                            if not begun:
                                if self._following.problem is not None:
                                    break
                                begun = True
                                await self._begin(send, slow, headers)
                            for piece in encoder.pieces(group) if group else (HEARTBEAT,):
                                await self._send(send, slow, piece)
                                if len(piece) >= PIECE_BYTES:
                                    await asyncio.sleep(0)  # the others' turn: much goes out before a socket is full
                finally:
                    slow.close()
            if not begun and self._following.problem is not None:
                await send_error(self._following.problem, send)
            elif begun or not gone.done():
                if not begun:
                    await self._begin(send, slow, headers)
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        except TimeoutError:
            self._gateway.abort(scope, b"")
            await asyncio.wait({gone}, timeout=1)  # the server says so at once; returning before is an error in its log
            return False
        return True

    async def _begin(self, send: Send, slow: InactivityTimer, headers: list[tuple[bytes, bytes]]) -> None:
        self._following.unsent = False
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        # The headers leave with the first bytes of the body: without some, a client of a queued job waits for both.
        await self._send(send, slow, HEARTBEAT)

    async def _send(self, send: Send, slow: InactivityTimer, body: bytes) -> None:
        slow.start()
        await send({"type": "http.response.body", "body": body, "more_body": True})
        slow.stop()


class NoContent:
    """A 204: nothing follows, and an EventSource does not reconnect."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def stream(
    gateway: Gateway,
    view: type[View],
    subject: Subject,
    cursor: Cursor,
    *,
    lasts_s: float | None = None,
    patience_s: float | None = None,
    at_end: AtEnd | None = None,
) -> ASGIApp:
    """Return the response that follows a job, or 204. With `patience_s` its head is held as `StreamSession` says: a failure
    before the first frame has its own status, and a job that waits longer for its provider is answered 429. Raises
    `Unknown`, `Gone`, and `ApiError` when too many are open."""
    if cursor.at == "now" and not view.verbatim:
        raise InputError(f"the cursor `now` is for the native view; {view.name} begins at the start, or after an id")
    gateway.check_stream_limit()
    following = StreamSession(gateway, view, subject, cursor, lasts_s=lasts_s, patience_s=patience_s)
    if not await following.open():
        following.close()
        return NoContent()
    headers = view.headers | {"x-headrace-job": subject.job}
    return EventStream(gateway, following, headers, at_end, encoder=Encoder(named=view.named))


@get(
    "/v1/jobs/{job:str}/events",
    media_type="text/event-stream",
    operation=Operation(query=EventQuery, events=KnownJobEvent, empty=204),
)
async def events(request: Request[Any, Any, Any], job: str, gateway: Gateway) -> ASGIApp:
    """Stream its events after `Last-Event-ID`, or after `?after=`, in `?view=`; 204 when nothing follows."""
    lasts_s = gateway.allow(request, job, READ)
    query = request.query_params
    view = view_named(query.get("view"))
    gateway.record(job)
    given = request.headers.get("last-event-id")
    cursor = Cursor.parse(given if given is not None else query.get("after"), job)
    view.check_cursor(cursor)
    asked = await gateway.asked(job)
    subject = Subject(job=job, model=asked.model if asked else "", include_usage=flag(query.get("usage"), "usage"))
    return await stream(gateway, view, subject, cursor, lasts_s=lasts_s)
