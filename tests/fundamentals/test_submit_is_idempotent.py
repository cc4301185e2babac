"""One idempotency key is one job, paid once.

A caller that does not know whether its submission arrived submits again under the same key: it gets the job that is there
already. The same key with another body is a `Conflict`, because one of the two would get the other's answer. Below, every
move is as safe: a reply that got lost is no reason to fear the repetition.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from stack import Stack

from headrace import Conflict, Headrace
from headrace.jobs.job import new_id
from headrace.ledger.claim import claim
from headrace.ledger.script import Ledger
from headrace.ledger.submit import submit

MODEL = "rehearsal/small"


def test_fifty_submissions_under_one_key_are_one_job_paid_once(client: Headrace, stack: Stack) -> None:
    def one(_: int) -> str:
        return client.submit(MODEL, "Only one of fifty.", idempotency_key="fifty").id

    with ThreadPoolExecutor(50) as threads:
        (job,) = set(threads.map(one, range(50)))
    client.job(job).result(30)
    assert len(stack.calls_of(job)) == 1


def test_the_same_key_with_another_body_is_a_conflict(client: Headrace) -> None:
    client.submit(MODEL, "A prompt.", idempotency_key="two bodies")
    with pytest.raises(Conflict):
        client.submit(MODEL, "Another prompt.", idempotency_key="two bodies")


async def test_a_claim_whose_reply_was_lost_is_sent_again(ledger: Ledger) -> None:
    """The same token: it is the same attempt."""
    job = await submit(ledger, new_id("job"), b"{}", queue="interactive")
    attempt = await claim(ledger, job, token="a", owner="worker-1", queue="interactive")
    again = await claim(ledger, job, token="a", owner="worker-1", queue="interactive")
    assert again.epoch == attempt.epoch
