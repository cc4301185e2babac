"""Learnt limits: told twice, a second apart, and never contradicted by what was answered."""

from __future__ import annotations

from headrace_providers.wire.limit_headers import ToldLimits
from headrace_worker.limits.learnt_limits import LearntLimits

TOLD = ToldLimits(requests=500)


def test_a_limit_is_stored_when_it_was_told_again_and_then_each_minute() -> None:
    learnt = LearntLimits()
    assert [learnt.hear(TOLD, 120 + at) for at in (0, 0.5, 1.5, 2, 30)] == [None, None, TOLD, None, None]
    assert learnt.hear(TOLD, 182) == TOLD


def test_another_limit_begins_anew() -> None:
    learnt = LearntLimits()
    learnt.hear(TOLD, 0)
    assert learnt.hear(ToldLimits(requests=400), 2) is None
    assert learnt.hear(ToldLimits(requests=400), 4) == ToldLimits(requests=400)


def test_a_limit_that_is_used_up_is_told_more_often() -> None:
    learnt = LearntLimits()
    empty = TOLD._replace(empty_requests_s=1.0)
    learnt.hear(TOLD, 0)
    assert [learnt.hear(empty, at) for at in (2, 2.5, 3.5)] == [empty, None, empty]


def test_a_limit_that_more_calls_were_answered_than_is_a_lie() -> None:
    learnt, lie = LearntLimits(), ToldLimits(requests=1)
    assert [learnt.hear(lie, 0.1 * n) for n in range(9)] == [None] * 9
    assert learnt.hear(lie, 5) is None
    assert learnt.hear(lie, 500) is None
    assert learnt.hear(TOLD, 501) is None
    assert learnt.hear(TOLD, 503) == TOLD
