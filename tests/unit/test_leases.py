"""Whose record is lost begins no call, however it was told."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from headrace_worker import leases
from headrace_worker.leases import LeaseKeeper
from headrace_worker.spending.spending import Spending

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


async def test_the_first_call_of_a_shard_is_told_of_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[dict[str, str]] = []

    async def beat(*_: Any, risks: dict[str, str], **__: Any) -> dict[str, Any]:
        told.append(risks)
        return {}

    monkeypatch.setattr(leases, "BEAT_S", 600)
    monkeypatch.setattr(leases, "beat", beat)
    keeper, spending = LeaseKeeper("redis://none", "{hr}", "p", loop_limit_s=600), Spending(7, width=64)
    spending.on_first_call = keeper.beat_soon
    keeper.start(asyncio.get_running_loop())
    keeper.add("batch_x.s0", 7, lambda reason: None, risk=lambda: spending.risk)
    try:
        async with asyncio.timeout(20):
            while not told:
                await asyncio.sleep(0.01)
            for _ in range(100):
                spending.begin(Unpriced(), None)  # type: ignore[arg-type]
            while told[-1].get("batch_x.s0") != "100 0":
                await asyncio.sleep(0.01)
        assert len(told) <= 3, "one beat more, not one for each call"
    finally:
        await keeper.stop()


class Unpriced:
    def profile(self) -> None:
        return None
