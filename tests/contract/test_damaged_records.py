"""One bad record or message never blocks its neighbours: real workers, a real Valkey, and somebody who writes rubbish into it."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from stack import Stack, until

from headrace.broker import hints
from headrace.broker.queue import queue_key, unacked_key
from headrace.jobs.job import new_id
from headrace.ledger.dead_letter import parse
from headrace.ledger.queues import INTERACTIVE, QUEUES

CANARY = "zanzibar"
DEEP = "[" * 60_000 + f'"{CANARY}"' + "]" * 60_000


@pytest.fixture
def client(stack: Stack) -> Iterator[redis.Redis]:
    with contextlib.closing(stack.client) as client:
        client.delete("{hr}:rejections", "{hr}:rejected")
        yield client


def logs_of(stack: Stack) -> list[str]:
    logs = stack.folder / ".headrace" / "logs"
    return [(logs / f"{role}.log").read_text() for role in QUEUES]


def answers(stack: Stack, text: str = "Why is the sky blue?") -> None:
    """A job and a batch are worked on."""
    assert stack.run("run", text, "--model", "rehearsal/small").returncode == 0
    batch_id = stack.extract([{"id": "1", "text": text}])
    until(lambda: stack.batch(batch_id)["state"] == "completed", what="a batch ends", seconds=20)


def hint_with(**changes: Any) -> dict[str, Any]:
    message = json.loads(hints.Hints("hr").envelope(INTERACTIVE, new_id("job")))
    return {**message, **changes}


def encoded(body: str) -> str:
    return base64.b64encode(body.encode()).decode()


def messages() -> dict[str, bytes]:
    whole = hint_with()
    properties, headers = whole["properties"], whole["headers"]
    made: dict[str, Any] = {
        "a body that is null": hint_with(body=None),
        "no body": {name: value for name, value in whole.items() if name != "body"},
        "a body that is a number": hint_with(body=5),
        "a body that is no base64": hint_with(body=CANARY + "!"),
        "a deep body": hint_with(body=encoded(DEEP)),
        "a body that is no triple": hint_with(body=encoded(f'"{CANARY}"')),
        "an id that is no text": hint_with(body=encoded("[[null], {}, {}]")),
        "an id that is none": hint_with(body=encoded(f'[["{CANARY}"], {{}}, {{}}]')),
        "an id of no record's form": hint_with(body=encoded('[["batch_x"], {}, {}]')),
        "nothing but a null body": {"body": None},
        "properties that are a list": hint_with(properties=[]),
        "a delivery tag that is a list": hint_with(properties=properties | {"delivery_tag": [CANARY]}),
        "delivery info that is null": hint_with(properties=properties | {"delivery_info": None}),
        "headers that are null": hint_with(headers=None),
        "headers that are a list": hint_with(headers=[CANARY]),
        "a task that is a list": hint_with(headers=headers | {"task": [CANARY]}),
        "a task that nobody knows": hint_with(headers=headers | {"task": CANARY}),
        "pickle": hint_with(**{"content-type": "application/x-python-serialize"}),
    }
    raw = {name: json.dumps(message).encode() for name, message in made.items()}
    return raw | {
        "no UTF-8": b"\xff\xfe" + CANARY.encode(),
        "no JSON": CANARY.encode(),
        "a deep message": DEEP.encode(),
        "a deep header": json.dumps(hint_with(headers=headers | {"x": "DEEP"}))
        .encode()
        .replace(b'"DEEP"', DEEP.encode()),
        "a list": b"[]",
        "empty": b"",
    }


MESSAGES = messages()
HARMLESS = [
    json.dumps(hint_with(body=encoded(body))).encode()
    for body in ("[null, null, null]", "[[], {}, {}]", '[["a", "b"], {}, {}]')
]
"""Tasks that fail by themselves, as any may."""


def test_messages_that_are_no_hints_are_set_aside(stack: Stack, client: redis.Redis) -> None:
    workers, before = stack.ready["workers"], logs_of(stack)
    for queue in QUEUES:
        client.lpush(queue_key("hr", queue), *MESSAGES.values(), *HARMLESS)
    answers(stack)
    expected = len(QUEUES) * len(MESSAGES)
    until(lambda: int(client.hget("{hr}:rejections", "message") or 0) >= expected, what="all are set aside", seconds=20)
    until(lambda: client.hlen(unacked_key("hr")) == 0, what="none is held", seconds=20)
    assert int(client.hget("{hr}:rejections", "message") or 0) == expected, "each once"
    said = "".join(now[len(then) :] for now, then in zip(logs_of(stack), before, strict=True))
    assert stack.ready["workers"] == workers, "no worker ended"
    assert said.count("a message was set aside") == expected, "each is logged once"
    assert "connecting anew" not in said
    assert CANARY not in said
    kept = [parse(raw) for raw in client.lrange("{hr}:rejected", 0, -1)]
    assert {each.data for each in kept} >= {b"\xff\xfe" + CANARY.encode(), b"[]", DEEP.encode()[:4096]}
    assert all(len(each.data) <= 4096 for each in kept)
    doctor = stack.run("doctor")
    assert f"{expected} messages could not be worked with and were set aside" in doctor.stdout


def test_messages_that_a_worker_held_and_nobody_can_read_hold_up_no_others(stack: Stack, client: redis.Redis) -> None:
    """Those are put back an hour after they were taken, ten at a time, the oldest first."""
    held = unacked_key("hr")
    for tag, raw in {"a": b"rubbish", "b": DEEP.encode(), "c": b"\xff", "d": b"{}", "e": b"[5, 6, 7]"}.items():
        client.hset(held, tag, raw)
        client.zadd(f"{held}_index", {tag: 1})
    until(lambda: client.hlen(held) == 0, what="none is held", seconds=30)
    until(lambda: int(client.hget("{hr}:rejections", "message") or 0) >= 4, what="four are counted", seconds=20)
    assert int(client.hget("{hr}:rejections", "message") or 0) == 4


def test_damaged_records_are_set_aside(stack: Stack, client: redis.Redis) -> None:
    workers, before = stack.ready["workers"], logs_of(stack)
    good = {
        "kind": "job",
        "state": "queued",
        "queue": "interactive",
        "home": "interactive",
        "epoch": 0,
        "n": 0,
        "calls": 0,
    }
    damage: dict[str, dict[str, Any]] = {
        "kind": {"kind": ""},
        "queue": {"queue": "nowhere"},
        "epoch": {"epoch": CANARY},
        "hints": {"hints": CANARY},
        "crashes": {"crashes": CANARY, "state": "running"},
        "wrong state": {"state": CANARY},
    }
    for fields in damage.values():
        job = new_id("job")
        client.hset(f"{{hr}}:job:{job}", mapping=good | fields)
        client.zadd("{hr}:leases" if fields.get("state") == "running" else "{hr}:due", {job: 1})
    for index in ("due", "leases", "open"):
        client.zadd(f"{{hr}}:{index}", {b"job_\xff" + CANARY.encode(): 1, b"batch_\xff.s0": 2})
        for name in (new_id("job"), f"{new_id('batch')}.s3", new_id("batch")):
            kind = "job" if name.startswith("job") else "shard" if "." in name else "batch"
            client.set(f"{{hr}}:{kind}:{name}", CANARY, px=600_000)
            client.zadd(f"{{hr}}:{index}", {name: 0.5})
    client.hset(f"{{hr}}:batch:{(no_numbers := new_id('batch'))}", mapping={"kind": "batch", "state": "in_progress"})
    client.zadd("{hr}:open", {no_numbers: 0.1})
    answers(stack)

    def left() -> set[bytes]:
        return {
            name
            for index in ("due", "leases", "open")
            for name in client.zrange(f"{{hr}}:{index}", 0, 10**6, byscore=True)
        }

    until(lambda: not left(), what="the indexes are clean", seconds=40)
    answers(stack)
    said = "".join(now[len(then) :] for now, then in zip(logs_of(stack), before, strict=True))
    assert stack.ready["workers"] == workers, "no worker ended"
    assert CANARY not in said
    assert 6 + 3 <= said.count("a damaged record was set aside") <= 40
    assert client.hget(f"{{hr}}:batch:{no_numbers}", "state") == b"failed"


def test_a_job_without_kind_ends_and_its_neighbours_are_published(stack: Stack, client: redis.Redis) -> None:
    workers = stack.ready["workers"]
    job = new_id("job")
    client.hset(
        f"{{hr}}:job:{job}",
        mapping={
            "state": "queued",
            "queue": "interactive",
            "home": "interactive",
            "epoch": 0,
            "body": '{"v": 1}',
            "ttl": 60_000,
        },
    )
    client.lpush(queue_key("hr", INTERACTIVE), hints.Hints("hr").envelope(INTERACTIVE, job))
    answers(stack)
    until(lambda: client.hget(f"{{hr}}:job:{job}", "state") == b"failed", what="it ends", seconds=20)
    assert stack.run("jobs", "show", job).stdout.count("damaged") >= 1
    assert stack.ready["workers"] == workers


@pytest.mark.parametrize("field", ["seq", "epoch", "kind", "all"])
def test_a_record_damaged_while_it_runs_holds_up_no_stream(stack: Stack, client: redis.Redis, field: str) -> None:
    slow = ("run", "[[rehearsal tps=4]] Why is the sky blue?", "--model", "rehearsal/small", "--stream", "--detach")
    bad = stack.run(*slow).stdout.strip()
    record = f"{{hr}}:job:{bad}"
    until(lambda: (client.xlen(f"{record}:log") or 0) > 2, what="it streams")
    if field == "all":
        client.set(record, CANARY, px=60_000)
    else:
        client.hset(record, field, CANARY)
    answers(stack)
    done = stack.run("run", "Why is the sky blue?", "--model", "rehearsal/small", "--stream")
    assert done.returncode == 0, done.stderr
    until(lambda: not client.zscore("{hr}:leases", bad), what="nobody holds it", seconds=30)


def test_lists_show_what_cannot_be_read(stack: Stack, client: redis.Redis) -> None:
    answers(stack)
    text, batch = new_id("job"), new_id("batch")
    client.set(f"{{hr}}:job:{text}", CANARY, px=60_000)
    client.set(f"{{hr}}:batch:{batch}", CANARY, px=60_000)
    now_ms = int(client.time()[0]) * 1000
    client.zadd("{hr}:jobs:default", {text: now_ms + 1000, b"job_\xff": now_ms + 1000})
    client.zadd("{hr}:batches:default", {batch: now_ms + 1000})
    jobs, batches = stack.run("jobs", "list", "--json"), stack.run("batches", "list", "--json")
    assert {(each["id"], each["state"]) for each in map(json.loads, jobs.stdout.splitlines())} >= {(text, "damaged")}
    assert {(each["id"], each["state"]) for each in map(json.loads, batches.stdout.splitlines())} >= {
        (batch, "damaged")
    }
    assert len(jobs.stdout.splitlines()) > 1
    for one in (("jobs", "show", text), ("batches", "show", batch), ("watch", text)):
        done = stack.run(*one)
        assert (done.returncode, "damaged" in done.stderr, "Traceback" in done.stderr) == (1, True, False), done.stderr
    client.zrem("{hr}:jobs:default", text, b"job_\xff")
    client.zrem("{hr}:batches:default", batch)
