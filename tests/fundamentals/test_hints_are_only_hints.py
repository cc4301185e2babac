"""A Celery message is a *hint*: the id of a record, and nothing else. It may be lost, doubled or late.

So Celery is never asked what is done and what is not. A hint that comes twice finds the record claimed, one that comes late finds
it finished, and one that got lost is published again, because the ledger knows what is *due*.
"""

from __future__ import annotations

import json

import pytest

from headrace import errors
from headrace.broker.hints import Hints
from headrace.broker.queue import queue_key
from headrace.jobs.job import new_id
from headrace.ledger.claim import claim
from headrace.ledger.due import due
from headrace.ledger.finish import finish
from headrace.ledger.script import Ledger
from headrace.ledger.state import JobState
from headrace.ledger.submit import submit


async def test_a_hint_says_the_id_and_nothing_of_the_prompt(ledger: Ledger) -> None:
    job = await submit(ledger, new_id("job"), b'{"v":1,"messages":"a secret"}', queue="interactive")
    await Hints(ledger.namespace).publish(ledger, [("interactive", job)])
    (message,) = await ledger.client.lrange(queue_key(ledger.namespace, "interactive"), 0, -1)
    assert job in json.dumps(json.loads(message)["headers"])
    assert b"secret" not in message


async def test_a_second_hint_finds_the_job_busy_and_a_late_one_finds_it_finished(ledger: Ledger) -> None:
    """Both are dropped: nothing is paid twice."""
    job = await submit(ledger, new_id("job"), b"{}", queue="interactive")
    attempt = await claim(ledger, job, token="a", owner="worker-1", queue="interactive")
    with pytest.raises(errors.Busy):
        await claim(ledger, job, token="b", owner="worker-2", queue="interactive")

    event = b'{"t":"end","status":"succeeded"}'
    await finish(ledger, job, attempt.epoch, JobState.SUCCEEDED, seq=2, event=event, result=b'""')
    with pytest.raises(errors.Finished):
        await claim(ledger, job, token="c", owner="worker-2", queue="interactive")


async def test_a_lost_hint_is_published_again(ledger: Ledger) -> None:
    """Nobody heard of this job. The leader asks the ledger what is due, and publishes its hint once more."""
    job = await submit(ledger, new_id("job"), b"{}", queue="interactive")
    await ledger.client.zadd(ledger.keys.due, {job: 0})  # some seconds later
    assert await due(ledger) == [("interactive", job)]
