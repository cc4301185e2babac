"""What Flower sees and does: task names, ids, progress in numbers; a revoke there ends the record and the paid call."""

from __future__ import annotations

import base64
import json
import os
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from celery import Celery
from pool_stack import Events
from stack import Stack, started, until

from headrace import Headrace
from headrace.broker.hints import Hints, configure
from headrace.broker.queue import queue_key
from headrace.errors import JobFailed
from headrace.jobs.job import new_id
from headrace.ledger.queues import INTERACTIVE
from headrace.ledger.submit import submit
from headrace.settings import Settings


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with started(tmp_path_factory.mktemp("flower"), "--flower-writable") as stack:
        yield stack


@pytest.fixture
def client(stack: Stack) -> Iterator[Headrace]:
    with Headrace(stack.ready["redis"], settings=Settings(files=stack.ready["files"])) as client:
        yield client


@pytest.fixture
def events(stack: Stack) -> Iterator[Events]:
    app = Celery(set_as_current=False)
    app.conf.update(configure(stack.ready["redis"], "hr"))
    events = Events(app)
    yield events
    events.close()
    app.close()


def flower(stack: Stack, path: str, *, post: bool = False) -> Any:
    request = urllib.request.Request(
        f"{stack.ready['flower']}{path}",
        headers={"Authorization": authorization(stack)},
        method="POST" if post else "GET",
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def authorization(stack: Stack) -> str:
    password = stack.ready["flower_password"]
    return f"Basic {base64.b64encode(f'headrace:{password}'.encode()).decode()}"


def test_a_shard_reports_its_progress_once_a_second_in_numbers(client: Headrace, events: list[dict[str, Any]]) -> None:
    items = [f"[[rehearsal latency={300 * n}]] Item {n}." for n in range(8)]
    batch = client.extract(items, model="rehearsal/small")
    assert batch.wait(60).succeeded == 8
    progress = until(lambda: events.of("task-progress"), what="progress is heard")
    received = {event["uuid"]: event for event in events.of("task-received")}
    for event in progress:
        assert {"done", "failed", "tokens", "total"} <= set(event)
        assert all(isinstance(event[name], int) for name in ("done", "failed", "tokens", "total"))
        assert received[event["uuid"]]["name"] == "headrace.shard"
        assert batch.id in received[event["uuid"]]["args"]
        assert event["uuid"] == f"{batch.id}.s0", "the task's id is the record's"
    for uuid in {event["uuid"] for event in progress}:
        times = [event["timestamp"] for event in progress if event["uuid"] == uuid]
        assert all(later - earlier > 0.9 for earlier, later in pairwise(times))
    assert "Item" not in repr(events.seen)


def test_a_revoke_in_flower_cancels_the_record_and_closes_the_call(client: Headrace, stack: Stack) -> None:
    job = client.submit("rehearsal/small", "[[rehearsal latency=30000]] Never mind.")

    def running() -> str | None:
        tasks = flower(stack, "/api/tasks?limit=50")
        return next((uuid for uuid, task in tasks.items() if job.id in (task["args"] or "")), None)

    uuid = until(running, what="Flower shows the task")
    assert uuid == job.id
    assert flower(stack, f"/api/task/info/{uuid}")["name"] == "headrace.job"
    until(lambda: paid(stack, job.id), what="the provider has the call")
    flower(stack, f"/api/task/revoke/{uuid}?terminate=true", post=True)
    with pytest.raises(JobFailed, match="cancelled"):
        job.result(20)
    assert job.status() == "cancelled"
    until(lambda: paid(stack, job.id)[0].gone_at is not None, what="the connection to the provider is closed")


def test_a_hint_that_was_revoked_while_it_waited_cancels_its_record(client: Headrace, stack: Stack) -> None:
    app = Celery(set_as_current=False)
    app.conf.update(configure(stack.ready["redis"], "hr"))
    job_id = new_id("job")
    envelope = json.loads(Hints("hr").envelope(INTERACTIVE, job_id))
    uuid = envelope["headers"]["id"]
    app.control.revoke(uuid)
    until(lambda: known(app, uuid), what="the workers know of the revoke")
    body = json.dumps({"model": "rehearsal/small", "messages": [{"role": "user", "content": "x"}], "v": 1}).encode()

    async def enqueue(inner: Any) -> None:
        await submit(inner.ledger, job_id, body, queue=INTERACTIVE)
        await inner.ledger.client.lpush(queue_key("hr", INTERACTIVE), json.dumps(envelope))

    client.call(enqueue)
    with pytest.raises(JobFailed, match="cancelled"):
        client.job(job_id).result(20)
    assert paid(stack, job_id) == []
    app.close()


def test_each_attempt_is_a_task_of_its_own(client: Headrace, stack: Stack, events: Events) -> None:
    until(lambda: events.seen, what="events are heard at all")
    job = client.submit("rehearsal/small", "[[rehearsal latency=2000]] Wait.")

    def heard() -> list[str]:
        return [each["uuid"] for each in events.of("task-received") if job.id in each["uuid"]]

    until(heard, what="the first attempt is heard")
    until(lambda: paid(stack, job.id), what="the provider has the call")
    os.kill(stack.ready["workers"]["interactive"], signal.SIGKILL)
    assert job.result(60)
    until(lambda: len(heard()) > 1, what="the second attempt is heard")
    first, *others = heard()
    assert first == job.id
    assert all(each.startswith(f"{job.id}.2") for each in others)
    assert len(set(others)) == len(others)
    info = until(lambda: flower(stack, f"/api/task/info/{others[0]}"), what="Flower knows the second")
    assert job.id in info["args"]


@pytest.mark.parametrize(
    ("path", "is_open"),
    [("/metrics", False), ("/", False), ("/tasks", False), ("/api/tasks", False), ("/healthcheck", True)],
)
def test_nothing_but_the_health_check_is_open(stack: Stack, path: str, is_open: bool) -> None:
    def status(**headers: str) -> int:
        request = urllib.request.Request(f"{stack.ready['flower']}{path}", headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code

    assert status() == (200 if is_open else 401)
    assert status(Authorization=f"Basic {base64.b64encode(b'headrace:wrong').decode()}") == (200 if is_open else 401)
    assert status(Authorization=authorization(stack)) == 200


def known(app: Celery, uuid: str) -> bool:
    workers = app.control.inspect(timeout=2).revoked() or {}
    return len(workers) == 3 and all(uuid in ids for ids in workers.values())


def paid(stack: Stack, record_id: str) -> list[Any]:
    return [call for call in stack.calls() if (call.request_id or "").startswith(record_id)]
