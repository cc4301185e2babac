"""Submit: the record, its place in the queue and the idempotency key come into being together."""

from __future__ import annotations

from typing import Any

import pytest

from headrace import errors
from headrace.jobs.job import new_id
from headrace.ledger.script import Ledger
from headrace.ledger.submit import submit


async def test_a_submitted_job_is_queued_and_due_though_its_hint_be_lost(ledger: Ledger, look: Any, job: str) -> None:
    record = await look.record(job)
    assert (record["state"], record["queue"], record["home"]) == ("queued", "interactive", "interactive")
    assert (record["body"], record["epoch"], record["n"]) == ('{"v":1}', "0", "0")
    assert await look.due() == {job}
    assert await look.leased() == set()
    assert await look.log(job) == []
    assert await ledger.client.zscore(ledger.keys.jobs("default"), job) is not None


async def test_sent_twice_it_is_one_job(ledger: Ledger, look: Any, job: str) -> None:
    before = await look.everything()
    assert await submit(ledger, job, b'{"v":1}', queue="interactive") == job
    assert await look.everything() == before


async def test_submit_cannot_bring_a_running_job_back_to_the_queue(ledger: Ledger, look: Any, attempt: Any) -> None:
    await submit(ledger, attempt.record_id, b'{"v":1}', queue="interactive")
    assert await look.state(attempt.record_id) == "running"
    assert await look.due() == set()


async def test_the_same_key_and_body_name_the_first_job(ledger: Ledger, look: Any) -> None:
    first = await submit(ledger, new_id("job"), b"{}", queue="bulk", idempotency_key="k")
    assert await submit(ledger, new_id("job"), b"{}", queue="bulk", idempotency_key="k") == first
    assert await submit(ledger, first, b"{}", queue="bulk", idempotency_key="k") == first
    assert await look.due() == {first}
    assert 0 < await ledger.client.pttl(ledger.keys.idempotency("default", "k")) <= 24 * 3600 * 1000


async def test_the_same_key_with_another_body_is_a_conflict(ledger: Ledger, look: Any) -> None:
    first = await submit(ledger, new_id("job"), b"{}", queue="bulk", idempotency_key="k")
    with pytest.raises(errors.Conflict, match=first):
        await submit(ledger, new_id("job"), b"[]", queue="bulk", idempotency_key="k")
    assert await look.due() == {first}


async def test_tenants_do_not_share_idempotency_keys(ledger: Ledger) -> None:
    first = await submit(ledger, new_id("job"), b"{}", queue="bulk", tenant="a", idempotency_key="k")
    second = await submit(ledger, new_id("job"), b"[]", queue="bulk", tenant="b", idempotency_key="k")
    assert first != second
    assert await ledger.client.zrange(ledger.keys.jobs("a"), 0, -1) == [first.encode()]


async def test_the_list_of_a_tenant_forgets_after_eight_days(ledger: Ledger, job: str) -> None:
    await ledger.client.zadd(ledger.keys.jobs("default"), {"job_old": 1})
    await submit(ledger, new_id("job"), b"{}", queue="bulk")
    listed = await ledger.client.zrange(ledger.keys.jobs("default"), 0, -1)
    assert b"job_old" not in listed
    assert job.encode() in listed
