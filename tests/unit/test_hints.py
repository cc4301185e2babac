"""Hints: names, settings, and publishing to a real Valkey."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from celery import Celery

from headrace.broker import hints as hint
from headrace.broker.queue import SENT_HEADER, key_prefix, queue_key
from headrace.errors import SettingsError
from headrace.ledger.queued_record import HintCounts
from headrace.ledger.queues import BULK, INTERACTIVE, QUARANTINE
from headrace.ledger.script import Ledger


@pytest.fixture
def hints(namespace: str) -> hint.Hints:
    return hint.Hints(namespace)


@pytest.fixture
async def ledger(valkey_url: str, namespace: str) -> AsyncIterator[Ledger]:
    ledger = Ledger.at(valkey_url, namespace)
    yield ledger
    await ledger.close()


@pytest.fixture
def client(ledger: Ledger) -> Any:
    return ledger.client


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("unix:///tmp/x/s?db=1", "redis+socket:///tmp/x/s?virtual_host=1"),
        ("unix:///tmp/x/s", "redis+socket:///tmp/x/s"),
        ("redis://h:6379/2", "redis://h:6379/2"),
        ("redis://:secret@h:6379", "redis://:secret@h:6379"),
        ("redis://h:6379?db=3", "redis://h:6379/3"),
        ("rediss://u:p@h/0", "rediss://u:p@h/0"),
    ],
)
def test_a_broker_url_names_the_same_server(url: str, expected: str) -> None:
    assert hint.broker_url(url) == expected


def test_another_kind_of_server_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"HEADRACE_REDIS_URL.*amqp"):
        hint.broker_url("amqp://h")


@pytest.mark.parametrize(
    ("record_id", "task"),
    [
        ("job_abc", hint.JOB),
        ("batch_abc.s0", hint.SHARD),
        ("batch_abc.s12", hint.SHARD),
        ("batch_abc.join", hint.SHARD),
    ],
)
def test_the_id_says_which_task(record_id: str, task: str) -> None:
    assert hint.task_name(record_id) == task


@pytest.mark.parametrize("record_id", ["", "batch_abc", "batch_abc.12", "batch_abc.s", "shard_1", "xjob_1"])
def test_another_id_has_no_task(record_id: str, hints: hint.Hints) -> None:
    with pytest.raises(ValueError, match="no job and no shard"):
        hints.envelope(BULK, record_id)


def test_importing_hint_does_not_import_celery() -> None:
    code = (
        "import sys, headrace.broker.hints; print({'celery', 'kombu', 'redis', 'asyncio', 'urllib'} & set(sys.modules))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"


@pytest.mark.parametrize(
    ("queue", "record_id"),
    [(INTERACTIVE, "job_abc"), (BULK, "batch_abc.s12"), (QUARANTINE, "batch_abc.join")],
)
async def test_a_message_is_what_celery_itself_would_send(
    queue: str, record_id: str, hints: hint.Hints, ledger: Ledger, client: Any, valkey_url: str, namespace: str
) -> None:
    await hints.publish(ledger, [(queue, record_id)])
    app = Celery("other", set_as_current=False)
    app.conf.update(hint.configure(valkey_url, namespace))
    app.send_task(
        hint.task_name(record_id),
        args=[record_id],
        queue=queue,
        argsrepr=record_id,
        kwargsrepr="{}",
        ignore_result=True,
    )
    app.close()
    theirs, ours = [json.loads(raw) for raw in await client.lrange(queue_key(namespace, queue), 0, -1)]
    assert json.loads(base64.b64decode(ours["body"]))[:2] == [[record_id], {}]
    assert (ours["headers"]["argsrepr"], ours["headers"]["kwargsrepr"]) == (record_id, "{}")
    assert ours["headers"]["id"] == record_id, "Flower shows the record's own id"
    assert abs(int(ours["headers"].pop(SENT_HEADER)) - time.time() * 1000) < 60_000
    for message in (ours, theirs):  # what differs from one message to the next
        assert message["headers"]["id"] == message["headers"]["root_id"] == message["properties"]["correlation_id"]
        for name in ("id", "root_id", "origin"):
            del message["headers"][name]
        for name in ("correlation_id", "delivery_tag", "reply_to"):
            del message["properties"][name]
    assert ours == theirs


def test_no_two_messages_share_an_id(hints: hint.Hints) -> None:
    sent = [json.loads(hints.envelope(BULK, f"job_{n}")) for n in range(50)]
    assert len({message["headers"]["id"] for message in sent}) == 50
    assert len({message["properties"]["delivery_tag"] for message in sent}) == 50


@pytest.mark.parametrize(
    ("attempts", "hints", "expected"),
    [
        (0, 1, "batch_a.s19"),
        (0, 3, "batch_a.s19.1-3"),
        (1, 1, "batch_a.s19.2"),
        (1, 0, "batch_a.s19.2"),
        (4, 12, "batch_a.s19.5-12"),
    ],
)
def test_the_id_of_a_message_counts_attempts_and_hints(attempts: int, hints: int, expected: str) -> None:
    assert hint.task_id("batch_a.s19", HintCounts(attempts, hints)) == expected


async def test_messages_of_one_record_are_numbered_by_it(
    hints: hint.Hints, ledger: Ledger, client: Any, namespace: str
) -> None:
    """A worker passes over an id that was revoked, and Flower shows two tasks of one id as one."""
    shard, job, lost, bad = "batch_a.s19", "job_a", "job_lost", "job_bad"
    await client.hset(f"{{{namespace}}}:shard:{shard}", mapping={"n": 2, "hints": 1})
    await client.hset(f"{{{namespace}}}:job:{job}", mapping={"n": 0, "hints": 2})
    await client.set(f"{{{namespace}}}:job:{bad}", "no hash")
    for _ in range(2):
        await hints.publish_again(ledger, [(BULK, name) for name in (shard, job, lost, bad)])
    await hints.publish_again(ledger, [])
    await hints.publish(ledger, [(BULK, job)])
    raw = [json.loads(each) for each in await client.lrange(queue_key(namespace, BULK), 0, -1)]
    ids = [each["headers"]["id"] for each in reversed(raw)]
    assert ids[:2] == [f"{shard}.3", f"{job}.1-2"]
    assert ids[-1] == job
    unknown = [each for each in ids if each.startswith((lost, bad))]
    assert len(set(unknown)) == 4, "what cannot be counted is told apart all the same"
    assert [each["headers"]["argsrepr"] for each in reversed(raw)][:4] == [shard, job, lost, bad]
    for key in (f"shard:{shard}", f"job:{job}", f"job:{bad}"):
        await client.delete(f"{{{namespace}}}:{key}")


async def test_many_hints_go_to_their_queues_in_order(
    hints: hint.Hints, ledger: Ledger, client: Any, namespace: str
) -> None:
    await hints.publish(ledger, [])
    await hints.publish(ledger, [*((BULK, f"batch_a.s{n}") for n in range(1500)), (QUARANTINE, "job_x")])
    raw = await client.lrange(queue_key(namespace, BULK), 0, -1)
    assert [json.loads(each)["headers"]["argsrepr"] for each in reversed(raw)] == [f"batch_a.s{n}" for n in range(1500)]
    assert await client.llen(queue_key(namespace, QUARANTINE)) == 1
    keys = await client.keys(f"*{namespace}*")
    assert all(key.decode().startswith(key_prefix(namespace)) for key in keys)


async def test_nothing_is_sent_when_one_of_many_is_wrong(
    hints: hint.Hints, ledger: Ledger, client: Any, namespace: str
) -> None:
    with pytest.raises(ValueError, match="no queue 'bluk'"):
        await hints.publish(ledger, [(BULK, "job_1"), ("bluk", "job_2")])
    assert await client.llen(queue_key(namespace, BULK)) == 0


def test_the_names_of_the_tasks_are_on_the_wire() -> None:
    """Messages outlive a deploy, and Flower's users know them."""
    assert (hint.JOB, hint.SHARD) == ("headrace.job", "headrace.shard")
