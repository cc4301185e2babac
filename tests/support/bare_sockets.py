"""Viewers of a gateway as bare sockets: cheap enough for a thousand of them, and as slow as a test wants."""

from __future__ import annotations

import asyncio
import json
import socket
from urllib.parse import urlsplit

from transcript import Transcript

from headrace.events.ids import Event, EventId

SSE = "GET /v1/jobs/{job}/events?after={after} HTTP/1.1\r\nHost: {host}\r\n\r\n"
WEBSOCKET = (
    "GET /v1/stream?job={job}&after={after} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
LAST_BLOCK = b"0\r\n\r\n"


async def connected(
    base: str, request: str, job: str, after: EventId | str = "0", *, window: int | None = None
) -> socket.socket:
    """A socket that has asked; nothing has been read from it. `window`: how much the kernel takes ahead, in bytes."""
    parts = urlsplit(base)
    loop = asyncio.get_running_loop()
    connection = socket.socket()
    if window is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
    connection.setblocking(False)
    await loop.sock_connect(connection, (str(parts.hostname), int(parts.port or 0)))
    await loop.sock_sendall(connection, request.format(job=job, after=after, host=parts.netloc).encode())
    return connection


def events_of_sse(raw: bytes) -> list[Event]:
    """The log's events in a response as it came over the line."""
    head, _, chunked = raw.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 "), head
    found = []
    for block in unchunked(chunked).split(b"\n\n"):
        fields = dict(line.split(b": ", 1) for line in block.split(b"\n") if line and not line.startswith(b":"))
        if b"id" in fields:
            found.append(Event(EventId.parse(fields[b"id"].decode()), fields[b"data"]))
    return found


def unchunked(raw: bytes) -> bytes:
    parts, at = [], 0
    while at < len(raw):
        line_end = raw.index(b"\r\n", at)
        size = int(raw[at:line_end], 16)
        parts.append(raw[line_end + 2 : line_end + 2 + size])
        at = line_end + 2 + size + 2
    return b"".join(parts)


def events_of_websocket(raw: bytes) -> tuple[list[Event], int | None]:
    """The log's events among the frames as they came over the line, and the code of the closing frame."""
    head, _, frames = raw.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 "), head
    found, code, at = [], None, 0
    while at + 2 <= len(frames):
        kind, size = frames[at] & 0x0F, frames[at + 1]
        at += 2
        if size > 125:
            wide = 2 if size == 126 else 8
            size = int.from_bytes(frames[at : at + wide], "big")
            at += wide
        body = frames[at : at + size]
        at += size
        if kind == 8:
            code = int.from_bytes(body[:2], "big")
        elif kind == 1:
            event = json.loads(body)
            id = event.pop("id", None)
            if id is not None:
                del event["v"], event["job"]
                found.append(Event(EventId.parse(id), json.dumps(event).encode()))
    return found, code


def closing_frame(part: bytes) -> bool:
    """Whether it ends with a closing frame (1000 or 4xxx). The server would now wait for ours, ten seconds long."""
    at = part.rfind(b"\x88", -127)
    return (
        at >= 0 and part[at + 1 : at + 2] == bytes([len(part) - at - 2]) and part[at + 2 : at + 3] in (b"\x03", b"\x11")
    )


def transcript(events: list[Event]) -> Transcript:
    seen = Transcript()
    for event in events:
        seen.add(event)
    return seen
