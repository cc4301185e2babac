"""Requests, bodies and frames made from good ones, each a little wrong, out of a seeded chance."""

from __future__ import annotations

import json
import os
import random
import struct
from typing import Any

from response_mutants import RESPONSE_BODIES, RESPONSE_HEADS

SECRET = "hunter2"
FILLER = "Z"
"""What long texts consist of: how much of them an answer says again can be counted."""
JOB = "job_" + "a" * 26
TALK = [{"role": "user", "content": "x"}]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}
CHAT: dict[str, Any] = {
    "model": "rehearsal/small",
    "messages": TALK,
    "temperature": 0.5,
    "max_tokens": 5,
    "stream": False,
    "tools": [TOOL],
    "tool_choice": "auto",
    "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}},
    "metadata": {"k": "v"},
    "stream_options": {"include_usage": True},
    "headrace": {
        "ttl_s": 1,
        "timeout_s": 5,
        "on_retry": "fail",
        "cache": False,
        "idempotency_key": "k",
        "prefilling": "",
    },
}
UI: dict[str, Any] = {
    "id": "c",
    "model": "rehearsal/small",
    "trigger": "submit-message",
    "messages": [
        {
            "role": "user",
            "parts": [{"type": "text", "text": "x"}, {"type": "file", "mediaType": "image/png", "url": "data:"}],
        },
        {
            "role": "assistant",
            "parts": [{"type": "tool-f", "toolCallId": "t", "state": "output-available", "output": {}}],
        },
    ],
}
RUN: dict[str, Any] = {
    "threadId": "t",
    "runId": "r",
    "messages": [{"role": "user", "content": "x"}, {"role": "assistant", "toolCalls": [], "toolCallId": "x"}],
    "tools": [{"name": "f", "description": "d", "parameters": {"type": "object"}}],
    "forwardedProps": {"model": "rehearsal/small"},
    "state": {},
    "context": [],
}
BATCH: dict[str, Any] = {
    "input_file_id": "file-" + "a" * 26,
    "endpoint": "/v1/chat/completions",
    "completion_window": "24h",
    "metadata": {"k": "v"},
    "output_expires_after": {"anchor": "created_at", "seconds": 3600},
    "headrace": {
        "template": {"model": "rehearsal/small", "prompt": "Say {text}", "system": "x", "temperature": 0.5},
        "schema": SCHEMA,
        "mode": "strict",
        "reasks": 1,
        "on_bad_row": "skip",
    },
}
BODIES: dict[str, dict[str, Any]] = {
    "/v1/batches": BATCH,
    f"/v1/batches/batch_{'a' * 26}/retry": {"codes": ["timeout"]},
    "/v1/jobs": CHAT,
    "/v1/chat/completions": CHAT,
    "/v1/ui/chat": UI,
    "/v1/ag-ui": RUN,
    f"/v1/jobs/{JOB}/tokens": {"scope": ["read", "cancel"]},
    f"/v1/jobs/{JOB}/cancel": {},
    f"/v1/jobs/{JOB}/retry": {},
    **RESPONSE_BODIES,
}
NAMES = [
    "api_base",
    "base_url",
    "extra_query",
    "headrace",
    "model",
    "n",
    "functions",
    "stream",
    "$ref",
    "",
    "\0",
    "__proto__",
]


def odd_value(chance: random.Random) -> Any:
    return chance.choice(
        [
            *(None, True, False, 0, -1, 1.5, 1e308, 2**63, 2**70, -(2**70), "", "x", "\0", "\ud800", "\u2028\x85", "Ω"),
            *([], {}, [[]], [{}], {"": {}}, {"a": None}, [None] * 50, nested(chance.randrange(1, 300))),
            *(FILLER * 3000, [FILLER * 9] * 100, {f"{FILLER}{n}": FILLER * 9 for n in range(100)}, {FILLER * 3000: 1}),
            *(
                f"https://user:{SECRET}@host/v1?api_key={SECRET}",
                f"redis://:{SECRET}@host:6379/0",
                "rehearsal/" + FILLER * 500,
            ),
            *(
                "nobody/x",
                "openai/x",
                {"type": "json_object"},
                {"type": "json_schema"},
                {"$ref": "#"},
                {"$ref": "http://x"},
            ),
            *(
                {"type": FILLER * 500},
                {"pattern": "(" * 50},
                {"pattern": "(a+)+$"},
                {"enum": list(range(300))},
                "now",
                "9-9",
            ),
        ]
    )


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def mutated(value: Any, chance: random.Random) -> Any:
    """A copy in which some place is another value, is gone, or has come."""
    if chance.random() < 0.15:
        return odd_value(chance)
    if isinstance(value, dict) and value:
        copy, name = dict(value), chance.choice(list(value))
        what = chance.random()
        if what < 0.1:
            del copy[name]
        elif what < 0.25:
            copy[chance.choice([*NAMES, FILLER * 1000, name.upper(), name + " "])] = odd_value(chance)
        else:
            copy[name] = mutated(value[name], chance)
        return copy
    if isinstance(value, list) and value:
        copy, at = list(value), chance.randrange(len(value))
        if chance.random() < 0.1:
            return copy * chance.choice([0, 2, 300])
        copy[at] = mutated(value[at], chance)
        return copy
    return odd_value(chance)


def json_request(chance: random.Random) -> tuple[str, str, dict[str, str], bytes]:
    """Method, target, headers and body: of a route that is there, with a body that is JSON."""
    route = chance.choice(list(BODIES))
    body: Any = BODIES[route]
    for _ in range(chance.choice([1, 1, 1, 2, 4])):
        body = mutated(body, chance)
    headers = {"content-type": "application/json"}
    if chance.random() < 0.2:
        headers[
            chance.choice(["idempotency-key", "authorization", "cookie", "last-event-id", "origin", "accept-encoding"])
        ] = chance.choice(
            ["", "x", FILLER * 3000, "Bearer hr1.x.y", "headrace_token=x", "null", "http://[", "1-1", f"{JOB}:1-1"]
        )
    if chance.random() < 0.2:
        queries = ["?model=x", "?model=" + FILLER * 900, "?st=hr1.a.b", "?st=%ff%fe", "?after=%00", "/", "%00", "?&&=&"]
        route += chance.choice(queries)
    return "POST", route, headers, json.dumps(body).encode()


HEADS = [
    *RESPONSE_HEADS,
    b"GET /v1/jobs/%b HTTP/1.1\r\nHost: localhost\r\n\r\n" % JOB.encode(),
    b"GET /v1/jobs/%b/events?after=1-1&view=openai&usage=1 HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: 1-1\r\n\r\n"
    % JOB.encode(),
    b"GET /v1/stream?job=%b HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n" % JOB.encode(),
    b"GET /v1/models/rehearsal/x HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /v1/streams/%b?offset=-1&live=long-poll&cursor=1 HTTP/1.1\r\nHost: localhost\r\nIf-None-Match: x\r\n\r\n"
    % JOB.encode(),
    b"HEAD /v1/streams/%b HTTP/1.1\r\nHost: localhost\r\n\r\n" % JOB.encode(),
    b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}",
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    b"POST /v1/ag-ui HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n{}",
    b"OPTIONS /v1/jobs HTTP/1.1\r\nHost: localhost\r\nOrigin: http://x\r\nAccess-Control-Request-Method: POST\r\n\r\n",
    b"HEAD / HTTP/1.0\r\n\r\n",
    b"GET /v1/files/file-a/content HTTP/1.1\r\nHost: localhost\r\nRange: bytes=0-1\r\n\r\n",
    b"GET /v1/files?after=file-a&limit=1&order=asc&purpose=batch HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /v1/batches/batch_a/results?after=1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /v1/batches?after=batch_a&limit=1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /v1/ui/chat/c/stream HTTP/1.1\r\nHost: localhost\r\nCookie: headrace_token=x\r\n\r\n",
    b"GET /v1/openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\nGET /page.css HTTP/1.1\r\nHost: localhost\r\n\r\n",
]
PIECES = [
    *(
        b"\r\n",
        b"\n",
        b"\r",
        b" ",
        b"\0",
        b":",
        b"\xff",
        b"%",
        b"%zz",
        b"..",
        b"//",
        b"?",
        b"#",
        b"HTTP/1.1",
        b"HTTP/2.0",
    ),
    *(b"Content-Length: 5\r\n", b"Content-Length: -1\r\n", b"Content-Length: 99999999999999999999\r\n", b"Host: x\r\n"),
    *(
        b"Transfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: gzip\r\n",
        b"Upgrade: websocket\r\nConnection: Upgrade\r\n",
    ),
    *(
        b"Upgrade: h2c\r\nConnection: Upgrade\r\n",
        b"Connection: close\r\n",
        b"X: " + b"a" * 9000 + b"\r\n",
        b"Expect: x\r\n",
    ),
    *(b"X-%d: y\r\n" % n for n in range(3)),
    b"".join(b"X%d: y\r\n" % n for n in range(200)),
    *(b"Cookie: ;;;===\r\n", b"Authorization: Bearer hr1.\xff\r\n", b"Origin: http://[\r\n", b"Range: bytes=0-1\r\n"),
    *(
        b"http://localhost:1/",
        b"*",
        b"POST ",
        b"CONNECT ",
        b"TRACE ",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"fffffffff\r\n",
    ),
    *(
        b"Sec-WebSocket-Protocol: bearer.\xff,,headrace.v1\r\n",
        b"Sec-WebSocket-Version: 8\r\n",
        b"Sec-WebSocket-Key: x\r\n",
    ),
]


def raw_request(chance: random.Random) -> list[bytes]:
    """What is written, piece after piece."""
    raw = chance.choice(HEADS)
    for _ in range(chance.choice([0, 1, 1, 1, 2, 3, 8])):
        at, end = sorted((chance.randrange(len(raw) + 1), chance.randrange(len(raw) + 1)))
        what = chance.random()
        if what < 0.25:
            line = raw.find(b"\r\n", at)
            at = line + 2 if line >= 0 else at
            raw = raw[:at] + chance.choice(PIECES) + raw[at:]
        elif what < 0.5:
            raw = raw[:at] + chance.choice(PIECES) + raw[at:]
        elif what < 0.7:
            raw = raw[:at] + chance.randbytes(chance.randrange(1, 9)) + raw[min(end, at + 9) :]
        elif what < 0.85:
            raw = raw[:at] + raw[min(end, at + 30) :]
        else:
            raw = raw[:at] + raw[at:end] * 2 + raw[end:]
    if chance.random() < 0.3:
        at = chance.randrange(len(raw) + 1)
        return [raw[:at], raw[at:]]
    return [raw]


FORM = (
    b'--xx\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
    b'--xx\r\nContent-Disposition: form-data; name="expires_after[anchor]"\r\n\r\ncreated_at\r\n'
    b'--xx\r\nContent-Disposition: form-data; name="expires_after[seconds]"\r\n\r\n3600\r\n'
    b'--xx\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\nContent-Type: text/plain\r\n\r\n'
    b"{}\n\r\n--xx--\r\n"
)
FORM_PIECES = [
    *(
        b"--xx",
        b"--xx--",
        b"\r\n",
        b"\r\n\r\n",
        b"\0",
        b"\xff",
        b'"',
        b";",
        b"name=",
        b'filename="',
        b"filename*=utf-8''%ff",
    ),
    *(
        b"x" * 9000,
        b"\r\n--xx\r\n" * 40,
        b"Content-Length: 9\r\n",
        b"Content-Transfer-Encoding: base64\r\n",
        b"batch_output",
    ),
]


def form_request(chance: random.Random) -> list[bytes]:
    """An upload whose form is a little wrong, of the length that it says, in pieces."""
    body = FORM
    for _ in range(chance.choice([0, 1, 1, 1, 2, 4])):
        at, end = sorted((chance.randrange(len(body) + 1), chance.randrange(len(body) + 1)))
        what = chance.random()
        if what < 0.5:
            body = body[:at] + chance.choice(FORM_PIECES) + body[at:]
        elif what < 0.7:
            body = body[:at] + body[min(end, at + 40) :]
        elif what < 0.85:
            body = body[:at] + chance.randbytes(4) + body[at + 4 :]
        else:
            body = body[:at]
    kinds = ["multipart/form-data; boundary=xx"] * 9 + ["multipart/form-data; boundary=" + "x" * 2000, "text/plain"]
    head = f"POST /v1/files HTTP/1.1\r\nHost: localhost\r\nContent-Type: {chance.choice(kinds)}\r\n"
    said = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    cuts = sorted(chance.randrange(len(said) + 1) for _ in range(chance.choice([0, 1, 3])))
    return [said[start:end] for start, end in zip([0, *cuts], [*cuts, len(said)], strict=True)]


ORDERS: list[dict[str, Any]] = [
    {"op": "sub", "job": JOB, "after": "1-1", "view": "native", "token": "hr1.a.b"},
    {"op": "sub", "job": JOB},
    {"op": "unsub", "job": JOB},
    {"op": "cancel", "job": JOB, "token": "x"},
]


def frame(opcode: int, data: bytes, *, fin: bool = True, masked: bool = True, reserved: int = 0) -> bytes:
    """A frame as a client sends it."""
    first = (0x80 if fin else 0) | reserved << 4 | opcode
    mark = 0x80 if masked else 0
    if len(data) < 126:
        size = bytes([mark | len(data)])
    elif len(data) < 1 << 16:
        size = bytes([mark | 126]) + struct.pack(">H", len(data))
    else:
        size = bytes([mark | 127]) + struct.pack(">Q", len(data))
    return bytes([first]) + size + (b"\0\0\0\0" if masked else b"") + data


def frames(chance: random.Random) -> list[bytes]:
    """What one connection says after its handshake."""
    said = []
    for _ in range(chance.randrange(1, 12)):
        what = chance.random()
        if what < 0.35:
            said.append(frame(1, json.dumps(chance.choice(ORDERS)).encode()))
        elif what < 0.65:
            said.append(frame(1, json.dumps(mutated(chance.choice(ORDERS), chance)).encode()))
        elif what < 0.75:
            data = json.dumps(chance.choice(ORDERS)).encode()
            at = chance.randrange(len(data))
            said += [frame(1, data[:at], fin=False), *([frame(9, b"p")] if what < 0.7 else []), frame(0, data[at:])]
        elif what < 0.85:
            data = chance.randbytes(chance.choice([0, 1, 2, 125, 126, 300]))
            opcode, reserved = chance.randrange(16), chance.choice([0, 0, 0, 1, 4, 7])
            said.append(frame(opcode, data, fin=chance.random() < 0.8, masked=chance.random() < 0.8, reserved=reserved))
        elif what < 0.9:
            said.append(
                frame(8, chance.choice([b"", b"\x03", b"\x03\xe8", b"\x00\x00", b"\x03\xe8\xff\xff", b"\xff\xffx"]))
            )
        elif what < 0.95:
            said.append(frame(1, chance.randbytes(50)))
        else:
            said.append(
                chance.choice([os.fsencode("x"), bytes([0x81, 0xFF, *[0xFF] * 8]), bytes([0x81, 0xFE]), frame(0, b"")])
            )
    return said
