"""The life of a job: submitted, claimed, streamed, finished.

A *job* is one completion asked for. Its record in the *ledger*, in Redis, is the truth. Every change of the record is a
*move*: one Lua script, atomic, and safe to send twice. What a job says while it runs goes to its *event log*, a Redis Stream;
the fold of the log is the answer.
"""

from __future__ import annotations

from headrace.jobs.job import new_id
from headrace.ledger.append import append
from headrace.ledger.claim import claim
from headrace.ledger.finish import finish
from headrace.ledger.script import Ledger
from headrace.ledger.state import JobState
from headrace.ledger.submit import submit

END = b'{"t":"end","status":"succeeded"}'


async def test_a_jobs_life(ledger: Ledger) -> None:
    """A job is submitted, claimed, streamed and finished; its log then tells the whole story, in order."""
    job = await submit(ledger, new_id("job"), b'{"v":1,"model":"rehearsal/small"}', queue="interactive")

    # A worker got the hint. Its claim begins an attempt; the epoch goes with every later write.
    attempt = await claim(ledger, job, token="of this hint", owner="worker-1", queue="interactive")
    assert attempt.record["body"] == b'{"v":1,"model":"rehearsal/small"}'

    # The provider streams; every chunk is a numbered event. Number 1 was the start of the attempt.
    await append(ledger, job, attempt.epoch, 2, [b'{"t":"text.delta","d":"Good "}', b'{"t":"text.delta","d":"day"}'])

    # The last event, the result and the counters are one move: nobody can see one without the others.
    first = await finish(
        ledger, job, attempt.epoch, JobState.SUCCEEDED, seq=4, event=END, result=b'"Good day"', counters={"jobs": 1}
    )
    assert first

    log = await ledger.client.xrange(f"{ledger.keys.job(job)}:log")
    assert [number.decode() for number, _ in log] == [f"{attempt.epoch}-{n}" for n in (1, 2, 3, 4)]
    assert log[-1][1][b"d"] == END
    assert await ledger.client.get(f"{ledger.keys.job(job)}:result") == b'"Good day"'
