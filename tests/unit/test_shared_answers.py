"""Single-flight between processes: who asks the same waits for one answer, whatever becomes of the one who pays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import fakeredis
import msgspec
import pytest
from headrace_worker.engine.answer_cache import AnswerCache
from headrace_worker.engine.kept_answer import MAX_BYTES, pack, unpack
from headrace_worker.engine.shared_answers import SharedAnswers
from structlog.testing import capture_logs

from headrace.chat.completion import Choice, Completion, Usage
from headrace.errors import CallError
from headrace.jobs.build import make_job
from headrace.jobs.job import Job
from headrace.ledger.script import Ledger

SECRET = b"s" * 32


def completion(content: str = "said", *, finish: str = "stop", cost: float | None = 0.5) -> Completion:
    return Completion(id="x", model="m", created=1, usage=Usage(1, 1), content=content, finish_reason=finish, cost=cost)


class Provider:
    """Answers when it is let, or fails; `calls` counts."""

    def __init__(self, answer: Completion | CallError | None = None):
        self.answer = answer or completion()
        self.calls = 0
        self.let = asyncio.Event()

    async def pay(self) -> Completion:
        self.calls += 1
        await self.let.wait()
        if isinstance(self.answer, CallError):
            raise self.answer
        return self.answer


class Processes:
    """Some processes on one server."""

    def __init__(self) -> None:
        self.server = fakeredis.FakeServer()
        self.caches: list[AnswerCache] = []

    def ledger(self) -> Ledger:
        return Ledger(fakeredis.FakeAsyncRedis(server=self.server), "shared")

    def start(self, name: str) -> SharedAnswers:
        ledger = self.ledger()
        cache = AnswerCache(ledger, ledger, process=name, ttl_s=60, max_bytes=1 << 20)
        self.caches.append(cache)
        return SharedAnswers(cache, asyncio.sleep)


@pytest.fixture
async def processes() -> AsyncIterator[Processes]:
    processes = Processes()
    yield processes
    for cache in processes.caches:
        await cache.close()
        await cache._ledger.close()


async def fits(_: Completion) -> bool:
    return True


def ask(process: SharedAnswers, provider: Provider, record: str, job: Job | None = None) -> asyncio.Task[Completion]:
    asked = process.ask(
        job or make_job("openai/m", "x", cache=True)[0],
        "openai m",
        record=record,
        tenant="default",
        pay=provider.pay,
        fits=fits,
    )
    return asyncio.create_task(asked)


async def until_called(provider: Provider, count: int = 1) -> None:
    async with asyncio.timeout(20):
        while provider.calls < count:
            await asyncio.sleep(0.01)


async def test_one_process_pays_for_all(processes: Processes) -> None:
    provider = Provider()
    several = [processes.start(name) for name in ("p", "q", "r")]
    tasks = [ask(several[0], provider, "job_0")]
    await until_called(provider)
    tasks += [ask(each, provider, f"job_{n}{m}") for n, each in enumerate(several) for m in range(5)]
    await asyncio.sleep(0.3)
    provider.let.set()
    answers = await asyncio.gather(*tasks)
    assert provider.calls == 1
    assert [answer.cached for answer in answers] == [False] + [True] * 15
    assert [answer.cost for answer in answers] == [0.5] + [0.0] * 15


async def test_when_its_process_is_gone_another_one_pays(processes: Processes) -> None:
    dead, alive = Provider(), Provider()
    first = ask(processes.start("dead"), dead, "job_1")
    await until_called(dead)
    second = ask(processes.start("alive"), alive, "job_2")
    await asyncio.sleep(0.3)
    assert alive.calls == 0
    ledger = processes.ledger()
    await ledger.client.delete(ledger.keys.caller("dead"))
    await until_called(alive)
    alive.let.set()
    assert not (await second).cached
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    await ledger.close()


async def test_one_that_is_cancelled_passes_the_question_on(processes: Processes) -> None:
    gone, next_one = Provider(), Provider()
    first = ask(processes.start("p"), gone, "job_1")
    await until_called(gone)
    second = ask(processes.start("q"), next_one, "job_2")
    first.cancel()
    await until_called(next_one)
    next_one.let.set()
    assert not (await second).cached


@pytest.mark.parametrize("answer", [CallError("timeout", "too slow"), completion(finish="length")])
async def test_what_cannot_be_shared_is_each_ones_own(processes: Processes, answer: Completion | CallError) -> None:
    failing, others = Provider(answer), Provider()
    first = ask(processes.start("p"), failing, "job_1")
    await until_called(failing)
    second = processes.start("q")
    tasks = [ask(second, others, f"job_{n}") for n in range(2, 6)]
    await asyncio.sleep(0.3)
    failing.let.set()
    others.let.set()
    await asyncio.gather(first, return_exceptions=True)
    answers = await asyncio.gather(*tasks)
    assert 1 <= others.calls <= 4
    assert {each.content for each in answers} == {"said"}


async def test_without_redis_everybody_pays_and_nothing_fails(processes: Processes) -> None:
    provider = Provider()
    provider.let.set()
    process = processes.start("p")
    assert not (await ask(process, provider, "job_1")).cached
    processes.server.connected = False
    with capture_logs() as logs:
        assert not (await ask(process, provider, "job_2")).cached
    assert {line["event"] for line in logs} >= {"no look at the kept answers"}
    processes.server.connected = True
    assert (await ask(process, provider, "job_3")).cached


async def test_an_answer_that_is_too_large_to_keep_is_told_in_the_log(processes: Processes) -> None:
    import random
    import string

    letters = "".join(random.Random(1).choices(string.printable, k=MAX_BYTES * 2))
    provider = Provider(completion(letters))
    provider.let.set()
    process = processes.start("p")
    with capture_logs() as logs:
        for record in ("job_1", "job_2"):
            assert not (await ask(process, provider, record)).cached
    assert [line["event"] for line in logs] == ["an answer is not kept: it is too large"] * 2
    assert logs[0]["max_bytes"] == MAX_BYTES < logs[0]["bytes"]


@pytest.mark.parametrize("size", [1, 5_000])
def test_an_answer_is_read_as_it_was_kept_and_only_there(size: int) -> None:
    kept = completion("said " * size)
    packed = pack(SECRET, "a", kept)
    assert unpack(SECRET, "a", packed) == kept
    assert len(packed) < 6_000
    assert unpack(SECRET, "b", packed) is None
    assert unpack(b"t" * 32, "a", packed) is None
    for at in (0, 16, 17, len(packed) - 1):
        assert unpack(SECRET, "a", packed[:at] + bytes([packed[at] ^ 1]) + packed[at + 1 :]) is None


def test_an_answer_of_which_one_choice_is_cut_is_not_shared() -> None:
    cut = msgspec.structs.replace(completion(), other_choices=[Choice(content="a", finish_reason="length")])
    assert unpack(SECRET, "a", pack(SECRET, "a", cut)) is None
