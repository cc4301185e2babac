"""Whose record is lost begins no call, however it was told."""

from __future__ import annotations

import pytest
from headrace_worker.leases import LeaseKeeper

from headrace.errors import Requeued


@pytest.mark.parametrize("reason", ["REQUEUED", "FENCED", "UNKNOWN", "CLOSED"])
async def test_a_record_that_is_lost_is_not_called_for(reason: str) -> None:
    keeper, told = LeaseKeeper("redis://none", "{hr}", "p", loop_limit_s=1), list[str]()
    keeper.add("job_x", 5, told.append)
    await keeper.confirm("job_x")
    keeper._heard({"job_x": 5}, {"job_x": reason}, None)
    assert told == [reason]
    with pytest.raises(Requeued):
        await keeper.confirm("job_x")
    keeper.add("job_x", 6, told.append)  # claimed anew
    await keeper.confirm("job_x")


async def test_ignores_answers_for_an_older_attempt() -> None:
    keeper, told = LeaseKeeper("redis://none", "{hr}", "p", loop_limit_s=1), list[str]()
    keeper.add("job_x", 6, told.append)
    keeper._heard({"job_x": 5}, {"job_x": "FENCED"}, None)
    assert told == []
    await keeper.confirm("job_x")
