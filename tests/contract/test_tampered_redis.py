"""Whoever writes into Redis (somebody else, another version, a damaged value) makes no worker send a header or a key that nobody
may send, hands out no answer that does not fit, and ends no process: real workers, a real Valkey, a provider that keeps notes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import Any

import pytest
import redis
from bare_provider import JSON_HEAD, BareProvider, Reply, bare_provider
from fake_transport import answer
from stack import Stack, started, until

from headrace import Headrace
from headrace.broker import hints
from headrace.broker.queue import queue_key
from headrace.errors import Damaged, HeadraceError
from headrace.jobs.job import new_id
from headrace.ledger.announce import live
from headrace.ledger.queues import INTERACTIVE
from headrace.settings import Settings

KEY = "sk-the-key-of-the-worker"
MODEL = "openai/m"
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}
TALK = [{"role": "user", "content": "hi"}]


@pytest.fixture(scope="module")
def provider() -> Iterator[BareProvider]:
    """In a thread of its own."""
    ready, over, made = threading.Event(), threading.Event(), []

    async def serve() -> None:
        async with bare_provider() as provider:
            provider.reply = Reply([json.dumps(answer('{"a":1}')).encode()], JSON_HEAD)
            made.append(provider)
            ready.set()
            await asyncio.to_thread(over.wait)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert ready.wait(30)
    yield made[0]
    over.set()
    thread.join(30)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, provider: BareProvider) -> Iterator[Stack]:
    environment = {"OPENAI_BASE_URL": provider.url, "OPENAI_API_KEY": KEY}
    with started(tmp_path_factory.mktemp("planted"), "--no-flower", environment=environment) as stack:
        yield stack


@pytest.fixture
def redis_client(stack: Stack) -> Iterator[redis.Redis]:
    with contextlib.closing(stack.client) as client:
        yield client


@pytest.fixture
def client(stack: Stack) -> Iterator[Headrace]:
    with Headrace(stack.ready["redis"], settings=Settings(files=stack.ready["files"])) as client:
        yield client


def plant(client: redis.Redis, body: bytes | dict[str, Any]) -> str:
    """A job with a body that nobody has checked."""
    job = new_id("job")
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    record = {"kind": "job", "state": "queued", "queue": "interactive", "home": "interactive", "epoch": 0, "n": 0}
    now_ms = int(client.time()[0]) * 1000
    client.hset(
        f"{{hr}}:job:{job}",
        mapping=record
        | {"calls": 0, "ttl": 60_000, "created": now_ms, "expires": now_ms + 60_000, "tenant": "default", "body": raw},
    )
    client.lpush(queue_key("hr", INTERACTIVE), hints.Hints("hr").envelope(INTERACTIVE, job))
    return job


def job_with(**fields: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": TALK, "v": 1} | fields


REFUSED: dict[str, dict[str, Any]] = {
    "authorization": job_with(options={"extra_headers": {"Authorization": "Bearer planted"}}),
    "host": job_with(options={"extra_headers": {"Host": "elsewhere.example"}}),
    "forwarded": job_with(options={"extra_headers": {"X-Forwarded-Host": "elsewhere.example"}}),
    "length": job_with(options={"extra_headers": {"Content-Length": "3"}}),
    "line end": job_with(options={"extra_headers": {"X-A": "b\r\nAuthorization: Bearer planted"}}),
    "model": job_with(options={"extra_body": {"model": "dearer"}}),
    "messages": job_with(options={"extra_body": {"messages": []}}),
    "stream": job_with(options={"extra_body": {"stream": True}}),
    "range": job_with(options={"temperature": 5}),
    "reasks": job_with(schema=SCHEMA, reasks=10**9),
    "negative": job_with(schema=SCHEMA, reasks=-1),
    "choices": job_with(schema=SCHEMA, options={"n": 100}),
    "no messages": job_with(messages=[]),
    "a role": job_with(messages=[{"role": "nobody", "content": "hi"}]),
    "a content": job_with(messages=[{"role": "user", "content": 5}]),
    "a part": job_with(messages=[{"role": "user", "content": [{"type": "text", "text": 5}]}]),
    "calls": job_with(messages=[{"role": "assistant", "tool_calls": ["x"]}]),
    "a schema": job_with(schema={"type": "object", "properties": 5}),
    "a reference": job_with(schema={"$ref": "http://elsewhere.example/schema"}),
    "a schema, cached": job_with(schema={"type": 5}, cache=True),
    "tools": job_with(tools=[{"type": "function", "function": {"name": 5}}]),
    "a parser": job_with(parser="nobody"),
    "a parser, cached": job_with(parser="nobody", cache=True),
    "a model": job_with(model="nowhere/m"),
    "no model": job_with(model=""),
    "an address as a model": job_with(model="https://elsewhere.example/v1/m"),
}
UNREADABLE: dict[str, bytes] = {
    "no JSON": b"\xff\xfe",
    "deep": b"[" * 100_000,
    "a list": b"[]",
    "no UTF-8": b'{"v":1,"model":"openai/m","messages":[{"role":"user","content":"\xff"}]}',
    "an option": json.dumps(job_with(options={"base_url": "http://elsewhere.example"})).encode(),
    "a mode": json.dumps(job_with(mode="nobody")).encode(),
}


@pytest.mark.parametrize("name", REFUSED | UNREADABLE)
def test_a_planted_body_is_refused_and_nothing_is_sent(
    name: str, stack: Stack, redis_client: redis.Redis, provider: BareProvider
) -> None:
    before, workers = len(provider.requests), stack.ready["workers"]
    job = plant(redis_client, (REFUSED | UNREADABLE)[name])
    until(lambda: redis_client.hget(f"{{hr}}:job:{job}", "state") in (b"failed", b"dead"), what="it ends", seconds=20)
    assert redis_client.hmget(f"{{hr}}:job:{job}", "state", "code") in (
        [b"failed", b"invalid_request"],
        [b"failed", b"no_deployment"],
    )
    assert len(provider.requests) == before
    assert stack.ready["workers"] == workers


def test_a_planted_body_that_could_have_been_submitted_is_answered(
    redis_client: redis.Redis, provider: BareProvider
) -> None:
    job = plant(redis_client, job_with(options={"extra_headers": {"X-Mine": "1"}, "extra_body": {"mine": 1}}))
    until(lambda: redis_client.hget(f"{{hr}}:job:{job}", "state") not in (b"queued", b"running"), what="it ends")
    assert redis_client.hget(f"{{hr}}:job:{job}", "state") == b"succeeded", redis_client.get(f"{{hr}}:job:{job}:result")
    assert f"authorization: bearer {KEY}" in provider.requests[-1].decode().lower()


SIGNED = 17
"""Bytes before the answer itself: its signature and its form."""
DAMAGED_ANSWERS: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda kept: b"",
    "no JSON": lambda kept: b"\xff",
    "an answer of an earlier release": lambda kept: kept[SIGNED:],
    "deep": lambda kept: kept[:SIGNED] + b'{"content":' + b"[" * 100_000,
    "another value": lambda kept: kept.replace(b'{"a":1}', b'{"a":2}'),
    "another form": lambda kept: kept[: SIGNED - 1] + b"z" + kept[SIGNED:],
    "cut": lambda kept: kept[:-10],
    "longer": lambda kept: kept + b" ",
    "a list": lambda kept: kept[:SIGNED] + b"[]",
}


@pytest.mark.parametrize("name", DAMAGED_ANSWERS)
def test_a_kept_answer_that_cannot_be_read_is_none(
    name: str, client: Headrace, redis_client: redis.Redis, provider: BareProvider
) -> None:
    def ask() -> Any:
        job = client.submit(MODEL, f"cache {name}", schema=SCHEMA, cache=True)
        return job.result(30), job.completion(30).cached

    assert ask() == ({"a": 1}, False)
    assert ask() == ({"a": 1}, True)
    before, keys = len(provider.requests), list(redis_client.scan_iter("{hr}:cache:*"))
    for key in keys:
        redis_client.set(key, DAMAGED_ANSWERS[name](redis_client.get(key) or b""), px=60_000)
    assert ask() == ({"a": 1}, False), "it was paid anew"
    assert len(provider.requests) == before + 1
    assert ask() == ({"a": 1}, True), "and kept"
    redis_client.delete(*keys)


def test_an_answer_to_another_question_is_none(client: Headrace, redis_client: redis.Redis) -> None:
    """Signed by us, and moved by somebody else."""
    for text in ("moved from", "moved to"):
        client.submit(MODEL, text, schema=SCHEMA, cache=True).result(30)
    first, second = redis_client.scan_iter("{hr}:cache:*")
    values = redis_client.mget(first, second)
    redis_client.mset({first: values[1], second: values[0]})
    for text in ("moved from", "moved to"):
        job = client.submit(MODEL, text, schema=SCHEMA, cache=True)
        assert (job.result(30), job.completion(30).cached) == ({"a": 1}, False)
    redis_client.delete(first, second)


@pytest.mark.parametrize(
    "result", [b"\xff", b"[]", b"5", b"{}", b'{"completion": 5}', b"[" * 100_000, b'{"error": {"code": 5}}']
)
def test_a_damaged_result_is_told(result: bytes, stack: Stack, client: Headrace, redis_client: redis.Redis) -> None:
    job = client.submit(MODEL, "x")
    job.result(30)
    redis_client.set(f"{{hr}}:job:{job.id}:result", result, px=60_000)
    with pytest.raises(HeadraceError):
        job.result(5)
    done = stack.run("jobs", "result", job.id)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "event",
    [
        b"\xff",
        b"[]",
        b"5",
        b"[" * 100_000,
        b"{}",
        b'{"t": 5}',
        b'{"t": []}',
        b'{"t": "status"}',
        b'{"t": "attempt.start", "reset": true}',
        b'{"t": "attempt.route"}',
        b'{"t": "text.delta", "d": 5}',
        b'{"t": "text.delta", "d": "x", "c": []}',
        b'{"t": "reasoning.delta", "d": {}}',
        b'{"t": "tool.delta", "i": [], "d": 5}',
        b'{"t": "audio.delta", "d": "!"}',
        b'{"t": "raw", "o": 5}',
        b'{"t": "snapshot", "message": 5, "upto": 5}',
        b'{"t": "snapshot", "message": {"content": 5, "tool_calls": 5}}',
        b'{"t": "end"}',
        b'{"t": "end", "status": "failed", "error": 5}',
        b'{"t": "usage", "u": 5}',
    ],
)
def test_a_damaged_event_is_told(event: bytes, stack: Stack, client: Headrace, redis_client: redis.Redis) -> None:
    job = client.submit(MODEL, "x")
    job.result(30)
    log = f"{{hr}}:job:{job.id}:log"
    entries = redis_client.xrange(log)
    fields = entries[-1][1]
    redis_client.delete(log)
    for number, fields_before in entries[:-1]:
        redis_client.xadd(log, fields_before, id=number)
    (name,) = fields
    redis_client.xadd(log, {name: event}, id=entries[-1][0])
    epoch, seq = map(int, entries[-1][0].split(b"-"))
    redis_client.xadd(log, {name: b'{"t":"end","status":"succeeded","finish":[]}'}, id=f"{epoch}-{seq + 1}")
    redis_client.hincrby(f"{{hr}}:job:{job.id}", "seq", 1)
    for flags in ([], ["--json"]):
        done = stack.run("watch", job.id, *flags)
        assert done.returncode in (0, 1), done.stderr
        assert "Traceback" not in done.stderr, done.stderr[-800:]


@pytest.mark.parametrize("value", [b"\xff", b"batch_x", b"job_\xff"])
def test_a_damaged_idempotency_value_is_told(value: bytes, client: Headrace, redis_client: redis.Redis) -> None:
    key = f"planted-{value!r}"
    client.submit(MODEL, "x", idempotency_key=key)
    (name,) = [
        each
        for each in redis_client.scan_iter("{hr}:*")
        if (b"idem" in each and redis_client.ttl(each) > 0 and sha256(key.encode()).hexdigest().encode() in each)
        or key.encode() in each
    ]
    kept = redis_client.type(name)
    assert kept in (b"string", b"hash")
    if kept == b"string":
        raw = redis_client.get(name)
        redis_client.set(name, value + raw[raw.index(b" ") :] if b" " in raw else value, px=60_000)
    else:
        redis_client.hset(name, "id", value)
    with pytest.raises(Damaged):
        client.submit(MODEL, "x", idempotency_key=key)


def test_damaged_announcements_are_nobodys(client: Headrace, redis_client: redis.Redis) -> None:
    until_ms = (int(redis_client.time()[0]) + 60) * 1000
    damaged = [b"[]", b"\xff", b'{"usable": 5}', b"[" * 100_000, b'{"usable": ["openai"], "base_url": 5']
    planted = {f"p{n}": b"%d %s" % (until_ms, body) for n, body in enumerate(damaged)}
    planted |= {"p8": b"9" * 10_000 + b" {}", "p9": "٣ {}".encode()}
    assert live({name.encode(): value for name, value in planted.items()}, until_ms - 1000) == []
    redis_client.hset("{hr}:providers", mapping=planted)
    try:
        assert client.submit(MODEL, "announced").result(30)
    finally:
        redis_client.hdel("{hr}:providers", *planted)


@pytest.mark.parametrize(
    "row",
    [
        b"",
        b"x{}",
        b"s\xff",
        b"s{}",
        b"s[]",
        b's{"custom_id":"a"}\ns{}',
        b"S/etc/passwd 0 100",
        b"Sx y z",
        b"s" + b"[" * 9999,
    ],
)
def test_a_damaged_row_is_told(row: bytes, stack: Stack, redis_client: redis.Redis) -> None:
    batch = stack.extract([{"id": "1", "text": "x"}, {"id": "2", "text": "y"}])
    until(lambda: stack.batch(batch)["state"] == "completed", what="it ends", seconds=20)
    redis_client.delete(f"{{hr}}:batch:{batch}:parts")
    redis_client.hset(f"{{hr}}:batch:{batch}", "state", "in_progress")
    redis_client.hset(f"{{hr}}:shard:{batch}.s0:res", mapping={0: row})
    done = stack.run("batches", "results", batch)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr, done.stderr[-800:]
    assert "root:" not in done.stdout
