"""When the flusher writes: at once, unless the loop lags or a log is half full; then a floor makes the groups larger."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from headrace_worker.publishing import publisher
from headrace_worker.publishing.publisher import FLOOR_S, LAG_S, Flusher, Publisher

from headrace.events.types import Image, KnownJobEvent, TextDelta
from headrace.ledger.script import Ledger, ScriptCall


class Scene:
    """A flusher whose clock, sleeps and round trips are the test's. `trips` are the groups that were written: of each job's
    append, how many events. The hooks run during a sleep, and during a round trip."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.slept: list[float] = []
        self.trips: list[list[int]] = []
        self.on_sleep: Callable[[float], None] = lambda seconds: None
        self.on_trip: Callable[[], None] = lambda: None
        # What is written goes to the test, so nothing ever connects.
        self.flusher = Flusher(Ledger(None))  # type: ignore[arg-type]
        self._turn = asyncio.sleep

    def monotonic(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_s += seconds
        self.on_sleep(seconds)
        await self._turn(0)

    async def append_together(self, ledger: Ledger, calls: list[ScriptCall]) -> list[str]:
        self.trips.append([len(call.rest) for call in calls])
        self.on_trip()
        await self._turn(0)
        return [""] * len(calls)

    def job(self, name: str = "job_a") -> Publisher:
        return Publisher(self.flusher, name, 7, {"n": b"1"})

    @property
    def floors(self) -> int:
        return self.slept.count(FLOOR_S)


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    scene = Scene()
    monkeypatch.setattr(publisher, "time", scene)
    monkeypatch.setattr(publisher, "append_together", scene.append_together)
    monkeypatch.setattr(asyncio, "sleep", scene.sleep)
    return scene


def text(d: str, c: int = 0) -> TextDelta:
    return TextDelta(c=c, d=d)


async def test_nothing_waits_while_the_loop_keeps_up(scene: Scene) -> None:
    job = scene.job()
    for n in range(5):
        job.put(text(str(n)))
        await job.settled()
    assert scene.trips == [[1]] * 5
    assert scene.floors == 0


async def test_events_put_during_a_round_trip_go_with_the_next(scene: Scene) -> None:
    jobs = [scene.job("job_a"), scene.job("job_b")]
    more = iter([jobs, jobs, []])

    def during() -> None:
        for job in next(more):
            job.put(text("during"), text("other", c=1))

    scene.on_trip = during
    jobs[0].put(text("first"))
    for job in jobs:
        await job.settled()
    assert scene.trips == [[1], [2, 2], [2, 2]]
    assert scene.floors == 0


@pytest.mark.parametrize(("lag_s", "floors"), [(LAG_S - 0.001, 0), (LAG_S + 0.001, 1)])
async def test_a_loop_that_lags_gets_larger_groups(scene: Scene, lag_s: float, floors: int) -> None:
    job, other = scene.job("job_a"), scene.job("job_b")

    def meanwhile(seconds: float) -> None:
        if seconds == FLOOR_S:
            job.put(text("during", c=1))
            other.put(text("the floor"))

    scene.on_sleep = meanwhile
    job.put(text("a"))
    scene.now_s += lag_s  # so late does the flusher get its turn
    await job.settled()
    await other.settled()
    assert scene.floors == floors
    assert scene.trips == [[2, 1] if floors else [1]]


async def test_a_turn_of_the_loop_between_two_round_trips_is_measured_too(scene: Scene) -> None:
    job = scene.job()
    turns = iter([0.0, LAG_S + 0.001, 0.0, 0.0])

    def lagging(seconds: float) -> None:
        if seconds == 0:
            scene.now_s += next(turns)

    more = iter([1, 1, 1, 0])

    def during() -> None:
        if next(more):
            job.put(text("again"))

    scene.on_sleep, scene.on_trip = lagging, during
    job.put(text("first"))
    await job.settled()
    assert scene.slept == [0, 0, FLOOR_S, 0, 0]
    assert len(scene.trips) == 4


async def test_a_slow_server_is_no_lag(scene: Scene) -> None:
    job = scene.job()
    more = iter([1, 1, 0])

    def slowly() -> None:
        scene.now_s += 5
        if next(more):
            job.put(text("again"))

    scene.on_trip = slowly
    job.put(text("first"))
    await job.settled()
    assert len(scene.trips) == 3
    assert scene.floors == 0


@pytest.mark.parametrize("limit", ["MAX_EVENTS", "MAX_BYTES"])
async def test_a_log_past_half_its_cap_grows_more_slowly(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    long, short = scene.job("job_a"), scene.job("job_b")
    monkeypatch.setattr(publisher, limit, 12 if limit == "MAX_EVENTS" else 900)
    while not long.half_full:
        assert scene.floors == 0
        long.put(text("x" * 20))
        await long.settled()
    short.put(text("alone"))
    await short.settled()
    assert scene.floors == 0
    for n in range(1, 4):
        long.put(text("more"))
        short.put(text("beside it"))
        await long.settled()
        assert scene.floors == n


@pytest.mark.parametrize("bad", [TextDelta(d="\ud800"), Image(a=object())])
async def test_an_event_that_cannot_be_written_ends_its_own_log_alone(scene: Scene, bad: KnownJobEvent) -> None:
    broken, sound = scene.job("job_a"), scene.job("job_b")
    broken.put(bad)
    sound.put(text("all is well"))
    async with asyncio.timeout(5):
        await sound.settled()
        with pytest.raises((ValueError, TypeError)):
            await broken.settled()
    sound.put(text("and goes on"))
    await sound.settled()
    assert scene.trips == [[1], [1]]
