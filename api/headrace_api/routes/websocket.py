"""`WS /v1/stream`: many jobs watched over one WebSocket, or one that the URL names.

The client says `{"op": "sub", "job": …, "after": …, "view": …, "token": …}`, `unsub` and `cancel`. Every frame is
`{"v": 1, "job": …, "id": …, "t": …}`; in views other than native, `d` is what the view says. A subscription ends with
`{"t": "closed", "code": …}`; with a job in the URL the connection itself closes with that code.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Literal

import msgspec
from litestar import WebSocket, websocket
from litestar.exceptions import WebSocketDisconnect
from msgspec import Raw

from headrace.errors import Finished, Gone, HeadraceError, InputError, Unknown
from headrace.ledger.cancel import cancel
from headrace.logs import get_logger
from headrace.text.masking import masked
from headrace.waiting import stop
from headrace_api.auth import CANCEL, READ, Denied
from headrace_api.error_quoting import shorten_quotes
from headrace_api.errors import ApiError
from headrace_api.state import Gateway
from headrace_api.streaming.notices import Bye, CancelledNotice, Heartbeat, Notice, SubscriptionClosed
from headrace_api.streaming.session import DRAINING, StreamSession
from headrace_api.streaming.ws_protocol import FRAGMENT
from headrace_api.views import Cursor, Frame, Subject, View, view_named

log = get_logger("headrace.api.routes.websocket")

PROTOCOL = "headrace.v1"
MAX_FRAME_BYTES = 64 * 1024
LARGE_BYTES = 256 * 1024
PIECE_BYTES = 64 * 1024
FIRST_WORD_S = 5.0
END, RESTART, INTERNAL, BAD, NO_TOKEN, FORBIDDEN, UNKNOWN, SLOW, GONE, TOO_MANY = (
    *(1000, 1012, 1011, 4400, 4401, 4403, 4404, 4408, 4410, 4429),
)
encode = msgspec.json.Encoder().encode


class ClientMessage(msgspec.Struct, forbid_unknown_fields=True):
    """A message of a client."""

    op: Literal["sub", "unsub", "cancel"]
    job: str
    after: str | None = None
    view: str | None = None
    token: str | None = None


class CloseReason(Exception):
    """The connection is to be closed with this code."""

    def __init__(self, code: int, reason: str):
        super().__init__(shorten_quotes(reason))
        self.code = code


def closing(error: Exception) -> CloseReason:
    """Return the close code for `error`."""
    codes: tuple[tuple[type[Exception], int], ...] = (
        (InputError, BAD),
        (Unknown, UNKNOWN),
        (Gone, GONE),
        (HeadraceError, INTERNAL),
    )
    if isinstance(error, CloseReason):
        return error
    if isinstance(error, Denied):
        return CloseReason(NO_TOKEN if error.missing else FORBIDDEN, str(error))
    if isinstance(error, ApiError):
        return CloseReason(TOO_MANY, str(error))
    return CloseReason(next((code for kind, code in codes if isinstance(error, kind)), INTERNAL), str(error))


class WebSocketConnection:
    """One WebSocket: a task for each subscription, and one lock for fair writes."""

    def __init__(self, gateway: Gateway, socket: WebSocket[Any, Any, Any]):
        self._gateway = gateway
        self._socket = socket
        self._scope: Any = socket.scope
        self._line = asyncio.Lock()
        self._gone: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._subscriptions: dict[str, asyncio.Task[None]] = {}
        self._sending: set[asyncio.Task[None]] = set()  # messages in pieces
        self._said = asyncio.Event()  # set by whatever is sent
        self._closing: asyncio.Future[CloseReason] = asyncio.get_running_loop().create_future()
        self._slot = contextlib.ExitStack()
        self._greeted = False
        if gateway.gate.is_open or gateway.gate.holds(gateway.tokens(socket)):
            self._greet()
        self._watched_until = asyncio.get_running_loop().time()

    def _greet(self) -> None:
        """Take a stream slot; callers without a token get none. Raises `ApiError` when there is none."""
        if not self._greeted:
            self._slot.enter_context(self._gateway.stream_slot())
            self._greeted = True

    async def run(self) -> None:
        """Serve until the client disconnects, or there is a reason to close."""
        works = (self._listen(), self._beat(), self._drain(), self._lapse())
        tasks = [asyncio.create_task(work) for work in works]
        try:
            done, _ = await asyncio.wait({*tasks, self._closing}, return_when=asyncio.FIRST_COMPLETED)
            await self._end(next(iter(done)))
        finally:
            if not self._gone.done():
                self._gone.set_result(None)
            await stop(*tasks, *self._subscriptions.values())
            self._slot.close()

    async def _end(self, done: asyncio.Future[Any]) -> None:
        error = done.exception()
        why = done.result() if error is None else closing(error) if isinstance(error, Exception) else None
        if isinstance(why, CloseReason):
            with contextlib.suppress(Exception):
                await self._close(why)

    async def _close(self, why: CloseReason) -> None:
        reason = str(why).encode()[:120].decode(errors="ignore")
        if why.code == SLOW or not self._greeted:
            self._gateway.abort(self._scope, why.code.to_bytes(2, "big") + reason.encode())
            return
        async with asyncio.timeout(self._gateway.settings.slow_reader_s):
            await self._socket.close(why.code, reason)

    async def single(self, job: str) -> None:
        """Watch the one job that the URL names."""
        query = self._socket.query_params
        order = ClientMessage("sub", job, query.get("after"), query.get("view"))
        self._subscriptions[job] = asyncio.create_task(self._follow(order, only=True))

    async def _listen(self) -> CloseReason | None:
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return None
            text = message.get("text")
            if text is None:
                return CloseReason(BAD, "frames are text; this one was binary")
            try:
                order = msgspec.json.decode(text, type=ClientMessage)
            except (msgspec.DecodeError, RecursionError) as error:
                return CloseReason(BAD, f"frame refused: {error}")
            await self._obey(order)

    async def _lapse(self) -> CloseReason:
        """Wait for the deadline of the first token, counted from the start of the connection, or until nothing was
        subscribed to for too long."""
        if not self._greeted:
            await asyncio.sleep(FIRST_WORD_S)
            if not self._greeted:
                return CloseReason(NO_TOKEN, f"no token within {FIRST_WORD_S:g} s")
        idle_s, loop = self._gateway.settings.gateway_idle_s, asyncio.get_running_loop()
        rest_s = idle_s
        while rest_s > 0:
            await asyncio.sleep(rest_s)
            rest_s = idle_s if self._subscriptions else self._watched_until + idle_s - loop.time()
        return CloseReason(END, f"nothing was watched here for {idle_s:g} s")

    async def _obey(self, order: ClientMessage) -> None:
        if order.op == "unsub":
            task = self._unwatched(order.job)
            if task is not None:
                await stop(task)  # nothing more of it may come, and a cancellation can get lost on its way
                await self._tell(order.job, END, "unsubscribed")
        elif order.op == "cancel":
            await self._cancel(order)
        elif order.job in self._subscriptions:
            raise CloseReason(BAD, f"{masked(order.job):.64} is watched already on this connection")
        elif len(self._subscriptions) >= self._gateway.settings.gateway_subscriptions:
            most = self._gateway.settings.gateway_subscriptions
            raise CloseReason(TOO_MANY, f"one connection watches {most} jobs at most")
        else:
            self._subscriptions[order.job] = asyncio.create_task(self._follow(order, only=False))

    async def _cancel(self, order: ClientMessage) -> None:
        try:
            self._gateway.allow(self._socket, order.job, CANCEL, (order.token,) if order.token else ())
            self._greet()
            self._gateway.record(order.job)
            state = await cancel(self._gateway.client.ledger, order.job)
        except Finished as error:
            state = error.detail
        except (Denied, HeadraceError, ApiError) as error:
            await self._tell(order.job, (why := closing(error)).code, str(why))
            return
        await self._send([notice(CancelledNotice(state), order.job)])

    async def _follow(self, order: ClientMessage, *, only: bool) -> None:
        try:
            why = await self._watch(order)
        except (Denied, HeadraceError, ApiError) as error:
            why = closing(error)
        except (
            CloseReason
        ) as error:  # the line itself is at fault; with its traceback it would keep what was to be sent
            why, only = CloseReason(error.code, str(error)), True
        except (OSError, WebSocketDisconnect):
            return
        except Exception as error:
            log.error("unforeseen", exc_info=error)
            why = CloseReason(INTERNAL, "something went wrong here")
        self._unwatched(order.job)
        if why is None:
            return
        if only:
            if not self._closing.done():
                self._closing.set_result(why)
            return
        with contextlib.suppress(OSError, CloseReason, WebSocketDisconnect):
            await self._tell(order.job, why.code, str(why))

    def _unwatched(self, job: str) -> asyncio.Task[None] | None:
        task = self._subscriptions.pop(job, None)
        if task is not None:
            self._watched_until = asyncio.get_running_loop().time()
        return task

    async def _watch(self, order: ClientMessage) -> CloseReason | None:
        gateway, job = self._gateway, order.job
        lasts_s = gateway.allow(self._socket, job, READ, (order.token,) if order.token else ())
        self._greet()
        view = view_named(order.view)
        gateway.record(job)
        cursor = Cursor.parse(order.after, job)
        view.check_cursor(cursor)
        following = StreamSession(gateway, view, Subject(job=job), cursor, lasts_s=lasts_s)
        try:
            if not await following.open():
                return CloseReason(END, "nothing follows its end")
            async with contextlib.aclosing(following.groups(self._gone)) as groups:
                async for group in groups:
                    for frame in group:
                        await self._send_frame(job, view, frame)
        finally:
            following.close()
        codes = {"end": END, "gone": GONE, "failed": INTERNAL, "expired": NO_TOKEN}
        return CloseReason(codes[following.last], following.last) if following.last in codes else None

    async def _send_frame(self, job: str, view: type[View], frame: Frame) -> None:
        if len(frame.data) < LARGE_BYTES:
            await self._send([wrapped(job, view, frame)])
            return
        # Half a message cannot be taken back: what has begun is sent to its end, whoever is cancelled meanwhile.
        sending = asyncio.create_task(self._send_in_pieces(parts(job, view, frame)))
        self._sending.add(sending)
        sending.add_done_callback(self._on_sent)
        await asyncio.shield(sending)

    async def _send_in_pieces(self, message: list[memoryview]) -> None:
        """Send one message in fragments: only one of them is buffered for a slow reader."""
        pieces = [part[at : at + PIECE_BYTES] for part in message for at in range(0, len(part), PIECE_BYTES)]
        async with self._line:
            for number, piece in enumerate(pieces):
                fragment = piece, number == 0, number == len(pieces) - 1
                try:
                    async with asyncio.timeout(self._gateway.settings.slow_reader_s):
                        await self._socket.send({"type": "websocket.send", FRAGMENT: fragment})  # type: ignore[typeddict-item]
                except TimeoutError:
                    raise CloseReason(SLOW, "nothing was taken for too long; come back with your cursor") from None
                await asyncio.sleep(0)  # the others' turn: much goes out before a socket is full
        self._said.set()

    def _on_sent(self, sending: asyncio.Task[None]) -> None:
        self._sending.discard(sending)
        error = None if sending.cancelled() else sending.exception()
        if isinstance(error, CloseReason) and not self._closing.done():
            self._closing.set_result(CloseReason(error.code, str(error)))

    async def _send(self, frames: list[bytes]) -> None:
        async with self._line:
            for frame in frames:
                try:
                    async with asyncio.timeout(self._gateway.settings.slow_reader_s):
                        await self._socket.send_data(frame.decode())
                except TimeoutError:
                    raise CloseReason(SLOW, "nothing was taken for too long; come back with your cursor") from None
        self._said.set()

    async def _tell(self, job: str, code: int, message: str) -> None:
        await self._send([notice(SubscriptionClosed(code, message[:500]), masked(job)[:64])])

    async def _beat(self) -> None:
        """Send a heartbeat frame after a silence: browsers do not see pings."""
        while True:
            self._said.clear()
            try:
                async with asyncio.timeout(self._gateway.settings.heartbeat_s):
                    await self._said.wait()
            except TimeoutError:
                await self._send([notice(Heartbeat())])

    async def _drain(self) -> CloseReason:
        await self._gateway.draining.wait()
        with contextlib.suppress(TimeoutError, OSError, CloseReason):
            async with asyncio.timeout(1):
                await self._send([notice(Bye(DRAINING))])
        return CloseReason(RESTART, DRAINING)


def notice(what: Notice, job: str | None = None) -> bytes:
    """Return a frame of the gateway's own, about `job` or about the whole connection."""
    head = {"v": 1} | ({} if job is None else {"job": job})
    return encode(head)[:-1] + b"," + encode(what)[1:]


def parts(job: str, view: type[View], frame: Frame) -> list[memoryview]:
    """Return the same frame as `wrapped`, without copies where possible."""
    if not view.verbatim and frame.id is not None:
        return [memoryview(wrapped(job, view, frame))]
    head = {"v": 1, "job": job} | ({"id": frame.id} if frame.id is not None else {})
    return [memoryview(encode(head)[:-1] + b","), memoryview(frame.data)[1:]]


def wrapped(job: str, view: type[View], frame: Frame) -> bytes:
    """Return the frame as it goes over the WebSocket."""
    head = {"v": 1, "job": job} | ({"id": frame.id} if frame.id is not None else {})
    if view.verbatim or frame.id is None:
        return encode(head)[:-1] + b"," + frame.data[1:]
    data = Raw(frame.data) if frame.data[:1] == b"{" else frame.data.decode()
    return encode(head | {"view": view.name, "d": data})


@websocket("/v1/stream")
async def stream(socket: WebSocket[Any, Any, Any], gateway: Gateway) -> None:
    """Stream the events of many jobs, or those of the one of `?job=`, `?after=`, `?view=`."""
    offered: Any = socket.scope.get("subprotocols") or []
    await socket.accept(subprotocols=PROTOCOL if PROTOCOL in offered else None)
    # Accepted first: a browser is told nothing of why a handshake was refused.
    try:
        gateway.check_caller(socket)
        connection = WebSocketConnection(gateway, socket)
        job = socket.query_params.get("job")
        if job is not None:
            await connection.single(job)
        await connection.run()
    except (Denied, ApiError) as error:
        why = closing(error)
        await socket.close(why.code, str(why)[:120])
