"""Servers over real sockets that break HTTP, or are slow with it: each fault with the code that a call to it ends with."""

from __future__ import annotations

import asyncio
import gzip
import ssl
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from headrace_providers.wire.request import Request
from headrace_providers.wire.transport import Deadlines, Transport

from headrace.errors import CallError

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

JSON = b'{"n":1}'
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
SQUEEZED = gzip.compress(JSON)
DEFLATED = zlib.compress(JSON)
MANY = 100_000
MAX_BYTES = 1 << 20
"""What the transports of these tests read of an answer."""


def answer(body: bytes = JSON, headers: bytes = b"", status: bytes = b"200 OK") -> bytes:
    """An answer as it should be, but for what is given."""
    return b"HTTP/1.1 %s\r\n%sContent-Length: %d\r\n\r\n%s" % (status, headers, len(body), body)


def chunk(data: bytes, extension: bytes = b"") -> bytes:
    return b"%x%s\r\n%s\r\n" % (len(data), extension, data)


def events(end: bytes) -> bytes:
    return end.join([b'data: {"n":1}', b"", b"data: [DONE]", b"", b""])


STREAM = OK + b"Content-Type: text/event-stream\r\n\r\n"
BROKEN, FAILED = "connection", "provider_error"

FAULTS: dict[str, tuple[bytes, str]] = {
    "closed without an answer": (b"", BROKEN),
    "closed within the head": (OK + b"Content-Le", BROKEN),
    "closed after early hints": (HINTS, BROKEN),
    "no status line": (b"NOPE\r\n\r\n", BROKEN),
    "another protocol's status line": (b"ICY 200 OK\r\n\r\n" + JSON, BROKEN),
    "HTTP/2 alone": (b"\0\0\x12\4\0\0\0\0\0\0\3\0\0\0\x64\0\4\0\x10\0\0\0\6\0\1\0\0", BROKEN),
    "a status of two digits": (answer(status=b"20 OK"), BROKEN),
    "a header of 100 KB": (answer(headers=b"X: " + b"a" * MANY + b"\r\n"), BROKEN),
    "500 headers": (answer(headers=b"".join(b"X%d: a\r\n" % i for i in range(500))), BROKEN),
    "a header with a zero byte": (answer(headers=b"X: a\0b\r\n"), BROKEN),
    "a header without a colon": (answer(headers=b"Xab\r\n"), BROKEN),
    "two lengths": (OK + b"Content-Length: 7\r\nContent-Length: 3\r\n\r\n" + JSON, BROKEN),
    "a negative length": (OK + b"Content-Length: -7\r\n\r\n" + JSON, BROKEN),
    "a length that is no number": (OK + b"Content-Length: 7x\r\n\r\n" + JSON, BROKEN),
    "a length beyond every number": (OK + b"Content-Length: %s\r\n\r\n" % (b"9" * 30) + JSON, BROKEN),
    "a length that is too short": (OK + b"Content-Length: 7\r\n\r\n" + JSON + b"{}", BROKEN),
    "a length beside chunks": (
        OK + b"Content-Length: 7\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(JSON) + b"0\r\n\r\n",
        BROKEN,
    ),
    "chunks of gzip": (OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + chunk(SQUEEZED) + b"0\r\n\r\n", FAILED),
    "a chunk without a size": (CHUNKED + b"zz\r\n{}\r\n", BROKEN),
    "a chunk of a negative size": (CHUNKED + b"-7\r\n" + JSON + b"\r\n0\r\n\r\n", BROKEN),
    "a chunk of a size beyond every number": (CHUNKED + b"f" * 17 + b"\r\n" + JSON, BROKEN),
    "a chunk without an end": (CHUNKED + b"7\r\n" + JSON + b"0\r\n\r\n", BROKEN),
    "closed within a chunk": (CHUNKED + b'10\r\n{"a": ', BROKEN),
    "a trailer of 100 KB": (CHUNKED + chunk(JSON) + b"0\r\nX: " + b"a" * MANY + b"\r\n\r\n", BROKEN),
    "a trailer without a colon": (CHUNKED + chunk(JSON) + b"0\r\nno\r\n\r\n", BROKEN),
    "closed within the body": (OK + b'Content-Length: 200\r\n\r\n{"a"', BROKEN),
    "an encoding nobody knows": (answer(b"{}", b"Content-Encoding: br\r\n"), FAILED),
    "two encodings": (answer(gzip.compress(SQUEEZED), b"Content-Encoding: gzip, gzip\r\n"), FAILED),
    "gzip that is none": (answer(b"{}", b"Content-Encoding: gzip\r\n"), FAILED),
    "gzip with another checksum": (answer(SQUEEZED[:-8] + bytes(8), b"Content-Encoding: gzip\r\n"), FAILED),
    "gzip that is cut": (answer(SQUEEZED[:14], b"Content-Encoding: gzip\r\n"), BROKEN),
    "deflate that is cut": (answer(DEFLATED[:5], b"Content-Encoding: deflate\r\n"), BROKEN),
    "a bomb": (answer(gzip.compress(b"[" + b" " * (2 * MAX_BYTES), 9), b"Content-Encoding: gzip\r\n"), FAILED),
    "a body without an end": (OK + b"\r\n[" + b" " * (2 * MAX_BYTES), FAILED),
    "no content": (b"HTTP/1.1 204 No\r\n\r\n", FAILED),
    "no content, and a body": (answer(status=b"204 No"), BROKEN),
    "not modified, and a body": (answer(status=b"304 No"), BROKEN),
    "switching protocols": (b"HTTP/1.1 101 Go\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nx", "invalid_request"),
    "a redirect": (answer(b"", b"Location: http://127.0.0.1:9/\r\n", b"302 Go"), "invalid_request"),
    "a redirect that keeps the method": (answer(headers=b"Location: /\r\n", status=b"307 Go"), "invalid_request"),
    "an error in what is no encoding of text": (
        answer(b"no", b"Content-Type: text/plain; charset=hex\r\n", b"403 No"),
        "auth",
    ),
    "an error without JSON": (answer(b"no", status=b"401 No"), "auth"),
    "an error of the server": (answer(b"", status=b"503 No"), "provider_unavailable"),
    "an error of an unknown class": (answer(b"", status=b"999 No"), "provider_unavailable"),
    "closed within the body of an error": (b'HTTP/1.1 401 No\r\nContent-Length: 200\r\n\r\n{"a"', "auth"),
    "an error in an encoding nobody knows": (answer(b"x", b"Content-Encoding: br\r\n", b"429 No"), "rate_limited"),
    "an error in gzip that is cut": (answer(SQUEEZED[:14], b"Content-Encoding: gzip\r\n", b"402 No"), "payment"),
    "an error without an end": (b"HTTP/1.1 404 No\r\n\r\n" + b"a" * 300_000, "not_found"),
}
"""What is written before the connection is closed, and the code."""

ODD_BUT_READ: dict[str, bytes] = {
    "early hints": HINTS + answer(),
    "a hundred early hints": HINTS * 100 + answer(),
    "continue, unasked": b"HTTP/1.1 100 Continue\r\n\r\n" + answer(),
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\n\r\n" + JSON,
    "HTTP/1.0 kept alive": b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 7\r\n\r\n" + JSON,
    "no reason": b"HTTP/1.1 200\r\nContent-Length: 7\r\n\r\n" + JSON,
    "lines that end as in Unix": b"HTTP/1.1 200 OK\nContent-Length: 7\n\n" + JSON,
    "a header of 30 KB": answer(headers=b"X: " + b"a" * 30_000 + b"\r\n"),
    "a folded header": answer(headers=b"X: a\r\n b\r\n"),
    "a header in no encoding": answer(headers=b"X: \xff\xfe\r\n"),
    "a cookie in no encoding": answer(headers=b"Set-Cookie: \xff=;;;\r\n"),
    "an offer to upgrade": answer(headers=b"Upgrade: h2c\r\nConnection: upgrade\r\n"),
    "trailers": CHUNKED + chunk(JSON) + b"0\r\nX: y\r\nZ: z\r\n\r\n",
    "a cut trailer": CHUNKED + chunk(JSON) + b"0\r\nX: y\r\n",
    "no last chunk": CHUNKED + chunk(JSON),
    "an extension of 100 KB": CHUNKED + chunk(JSON, b";a=" + b"a" * MANY) + b"0\r\n\r\n",
    "a length that is too long": OK + b"Content-Length: 70\r\n\r\n" + JSON,
    "gzip": answer(SQUEEZED, b"Content-Encoding: gzip\r\n"),
    "gzip and more": answer(SQUEEZED + bytes(20), b"Content-Encoding: gzip\r\n"),
    "deflate": answer(DEFLATED, b"Content-Encoding: deflate\r\n"),
    "raw deflate": answer(DEFLATED[2:-4], b"Content-Encoding: deflate\r\n"),
    "events": STREAM + events(b"\n"),
    "events with CR": STREAM + events(b"\r"),
    "events with CR LF": STREAM + events(b"\r\n"),
    "events after a byte order mark": STREAM + b"\xef\xbb\xbf" + events(b"\n"),
    "events without a last line's end": STREAM + b'data: {"n":1}',
}
"""Answers that hold `{"n":1}` and nothing else."""


async def request_of(reader: asyncio.StreamReader) -> bytes:
    """The head of a request that has been read in full."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = [line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    await reader.readexactly(int(length[0]) if length else 0)
    return head


@asynccontextmanager
async def serving(
    serve: Serve, host: str = "127.0.0.1", *, context: ssl.SSLContext | None = None, limit: int = 1 << 16
) -> AsyncIterator[str]:
    """The `host:port` of a server that does `serve` with each connection, and closes it; a client that goes is no error."""

    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            pass
        except asyncio.CancelledError:  # `asyncio.run` ends what is left at the end of a test
            writer.transport.abort()
        finally:
            writer.close()

    server = await asyncio.start_server(served, host, 0, ssl=context, limit=limit)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    finally:
        server.close()


def writing(raw: bytes, *, apart: bool = False) -> Serve:
    """Answer a request with `raw`, with `apart` a byte at a time, and close."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        if not apart:
            writer.write(raw)
        for byte in raw if apart else b"":
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0)

    return serve


async def ask(
    transport: Transport, url: str, *, stream: bool = False, size: int = 0, headers: dict[str, str] | None = None
) -> list[Any]:
    """The chunks of a call with a body of `size` bytes."""
    body: dict[str, Any] = ({"stream": True} if stream else {}) | ({"text": "x" * size} if size else {})
    request = Request(url, headers or {"Authorization": "Bearer k"}, body)
    return [chunk async for chunk in transport.chunks(request)]


async def failure(transport: Transport, url: str, *, stream: bool = False, size: int = 0) -> CallError:
    """The error that a call ends with."""
    try:
        chunks = await ask(transport, url, stream=stream, size=size)
    except CallError as error:
        return error
    raise AssertionError(f"it was answered: {chunks}")


def short(**limits: float) -> Deadlines:
    return Deadlines(**({"connect_s": 5, "first_token_s": 20, "idle_s": 20, "total_s": 20} | limits))
