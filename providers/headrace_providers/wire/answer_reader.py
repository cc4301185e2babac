"""The chunks of an answer as it comes in: within the deadlines, whatever its framing, and with what came before it broke.

`ReadingTransport` is what the transports have in common; each of them adds how a request goes out.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from typing import Protocol

from headrace.errors import CallError, HeadraceError
from headrace.logs import get_logger
from headrace.text.readable import is_json
from headrace.text.safe_errors import kind_of, where_of
from headrace_providers.wire.address import fault_of
from headrace_providers.wire.body import Body
from headrace_providers.wire.chunks import Chunk, begins_stream, chunks_of, decoded, is_stream, is_whole
from headrace_providers.wire.idle_deadline import IdleDeadline
from headrace_providers.wire.request import Request
from headrace_providers.wire.sse import BOM, EventDecoder
from headrace_providers.wire.surrogates import Halves
from headrace_providers.wire.total_deadline import TotalDeadline
from headrace_providers.wire.transport import MAX_ANSWER_BYTES, Deadlines

log = get_logger("headrace.providers.wire.answer_reader")

DRAIN_S = 0.5


class Answer(Protocol):
    """A response of success, of which nothing but the head has been read."""

    headers: Mapping[str, str]
    body: Body

    async def close(self) -> None: ...


class ReadingTransport:
    """A `Transport` that reads what `_open` gives it. An answer of more than `most_bytes` is broken off."""

    def __init__(self, *, deadlines: Deadlines | None = None, most_bytes: int = MAX_ANSWER_BYTES):
        self.deadlines = deadlines or Deadlines()
        self._most_bytes = most_bytes
        self._patient = self.deadlines.patient
        self._total = TotalDeadline(self.deadlines.total_s)
        self._patient_total = TotalDeadline(self._patient.total_s)
        self._reading: set[Answer] = set()

    async def _close_answers(self) -> None:
        """End the answers that are being read: whoever reads one would not come to know that its connection was closed."""
        for answer in list(self._reading):
            await closed(answer)

    async def _open(self, request: Request) -> Answer:
        """Send `request`; return the answer's head. Raises `CallError` for a status of failure."""
        raise NotImplementedError

    def _call_error(self, error: Exception) -> Exception | None:
        """Return what to raise instead of an exception of the HTTP library, None when it is none that is known."""
        raise NotImplementedError

    async def chunks(self, request: Request) -> AsyncIterator[Chunk | None]:
        fault = fault_of(request.url)
        if fault is not None:
            raise CallError("connection", f"the provider's address {fault}", details={"unreachable": True})
        is_patient = request.body.get("service_tier") == "flex"
        try:
            with (self._patient_total if is_patient else self._total).call() as limited:
                answer = self._stream(request) if request.body.get("stream") else self._plain(request)
                async with aclosing(answer) as chunks:
                    while True:
                        try:
                            chunk = await limited.within(chunks.__anext__)
                        except StopAsyncIteration:
                            return
                        yield chunk
        except TimeoutError:
            deadlines = self._patient if is_patient else self.deadlines
            raise CallError("timeout", f"no answer within {deadlines.total_s:g} s") from None
        except asyncio.CancelledError:
            if is_cancelled_here():
                raise
            # aiohttp cancels those who wait for a free connection when its pool is closed.
            raise CallError("connection", "the connection failed: the transport was closed") from None
        except HeadraceError:
            raise
        except Exception as error:
            known = self._call_error(error)
            if known is not None:
                raise known from None
            # Whatever the libraries raise may show the request, and the credential in its headers, to who prints it.
            log.warning("the HTTP library failed", kind=kind_of(error), where=where_of(error))
            raise CallError("connection", f"the connection broke: {kind_of(error)}") from None

    async def _plain(self, request: Request) -> AsyncGenerator[Chunk | None]:
        answer = await self._open(request)
        self._reading.add(answer)
        body = answer.body
        pieces: list[bytes] = []
        broken: Exception | None = None
        try:
            while data := await body.read():
                pieces.append(data)
                if len(pieces) == 1 and begins_stream(data):  # some servers do nothing else
                    async with aclosing(events_of(body, data)) as chunks:
                        async for chunk in chunks:
                            yield chunk
                    return
                if is_whole(answer.headers, pieces):
                    await drained(body)
                    break
        except Exception as error:
            if begins_stream(b"".join(pieces)):
                raise
            broken = error
        finally:
            self._reading.discard(answer)
            await closed(answer)
        whole = b"".join(pieces)
        if is_stream(answer.headers, whole):
            decoder, halves = EventDecoder(), Halves()
            for event in (*decoder.feed(whole), *decoder.finish()):
                for chunk in chunks_of(event, halves):
                    yield chunk
        elif broken is None or is_json(whole):  # it is all there, however the connection ended
            yield decoded(whole.removeprefix(BOM))
        if broken is not None and not is_json(whole):
            raise broken

    async def _stream(self, request: Request) -> AsyncGenerator[Chunk | None]:
        # By what is read, not by what it says: comments and empty chunks prove that the other side lives.
        deadlines = self._patient if request.body.get("service_tier") == "flex" else self.deadlines
        deadline, what = IdleDeadline(deadlines.first_token_s), "first token"
        try:
            answer = await deadline.within(lambda: self._open(request))
            self._reading.add(answer)
            body = answer.body
            decoder, halves = EventDecoder(), Halves()
            unframed: list[bytes] | None = []  # as long as it may be one JSON object in place of a stream
            try:
                while True:
                    try:
                        data = await deadline.within(body.read)
                    except TimeoutError:
                        raise
                    except Exception:
                        if not (unframed and is_json(b"".join(unframed))):
                            raise
                        data = b""  # it is all there, however the connection ended
                    if unframed is not None and (unframed or data.removeprefix(BOM).lstrip().startswith(b"{")):
                        unframed.append(data)
                        if data and is_whole(answer.headers, unframed):
                            yield decoded(b"".join(unframed).removeprefix(BOM))
                            return
                    else:
                        unframed = None
                    for event in decoder.feed(data) if data else decoder.finish():
                        for chunk in chunks_of(event, halves):
                            deadline.change(self.deadlines.idle_s)
                            what = "next chunk"
                            yield chunk
                            if chunk is None:
                                await drained(body)
                                return
                    if not data:
                        return
            finally:
                self._reading.discard(answer)
                await closed(answer)
        except TimeoutError:
            raise CallError("timeout", f"no {what} within {deadline.limit_s:g} s") from None
        finally:
            deadline.close()


def is_cancelled_here() -> bool:
    """Return whether somebody has cancelled the current task, and not only what it waits for."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


async def events_of(body: Body, data: bytes) -> AsyncGenerator[Chunk | None]:
    """Yield the chunks of a stream that nobody asked for, of which `data` has been read."""
    decoder, halves = EventDecoder(), Halves()
    while True:
        for event in decoder.feed(data) if data else decoder.finish():
            for chunk in chunks_of(event, halves):
                yield chunk
                if chunk is None:
                    await drained(body)
                    return
        if not data:
            return
        data = await body.read()


async def drained(body: Body) -> None:
    """Read the rest, for the connection to be used again; a stall there spoils nothing, nor does a broken end."""
    with contextlib.suppress(Exception):
        async with asyncio.timeout(DRAIN_S):
            while await body.read():
                pass


async def closed(answer: Answer) -> None:
    """Close it; how that ends is of no interest to an answer that is there."""
    with contextlib.suppress(Exception):
        await answer.close()
