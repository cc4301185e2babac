"""What is wrong with the configuration is told before another call goes out, and only to whoever counts it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fake_transport import FakeTransport, answer, model_of
from headrace_providers.chat_completion import ChatCompletion
from headrace_providers.registry import Registry
from headrace_providers.wire.transport import Deadlines
from headrace_worker.engine.deployment_hold import DRAINING, MAX_UNPROVEN, Deferred
from headrace_worker.engine.engine import Engine
from headrace_worker.engine.tries import Tries

from headrace.errors import CallError
from headrace.jobs.build import make_job

REFUSED = CallError("auth", "the provider answered 401: no", status=401)


class OneModel:
    """A registry of a single model."""

    def __init__(self, model: ChatCompletion):
        self.model = model

    def chat_completion(self, model: str, *, retry: bool = True) -> ChatCompletion:
        return self.model


class Counter:
    """Counts slowly, and looks how many calls were begun meanwhile."""

    def __init__(self) -> None:
        self.failures: list[CallError] = []
        self.go = asyncio.Event()

    async def __call__(self, failure: CallError) -> None:
        self.failures.append(failure)
        await self.go.wait()


def engine_of(*script: Any) -> tuple[Engine, FakeTransport]:
    transport = FakeTransport(*script)
    return Engine(OneModel(model_of("openai", transport, retry=False)), calls=64), transport  # pyright: ignore[reportArgumentType]


async def ask(engine: Engine, **words: Any) -> Any:
    job, _ = make_job("openai/gpt-5-mini", "How many?")
    return await engine.ask(job, identity="j", epoch=1, tries=Tries(), **words)


async def turns(count: int = 50) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_no_further_call_before_the_failures_are_counted() -> None:
    engine, transport = engine_of(REFUSED)
    counter = Counter()
    tasks = [asyncio.create_task(ask(engine, on_configuration=counter)) for _ in range(100)]
    await turns()
    assert len(transport.requests) == len(counter.failures) == MAX_UNPROVEN
    counter.go.set()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(outcome, CallError) and outcome.code == "auth" for outcome in outcomes)
    assert len(transport.requests) == 100, "each of them was asked once"


async def test_a_key_that_dies_later_costs_what_is_in_flight() -> None:
    engine, transport = engine_of(answer(), [0.05, REFUSED])
    counter = Counter()
    await ask(engine, on_configuration=counter)
    tasks = [asyncio.create_task(ask(engine, on_configuration=counter)) for _ in range(60)]
    await turns()
    assert len(transport.requests) == 61, "it had answered: all may go"
    async with asyncio.timeout(10):
        while len(counter.failures) < 60:
            await asyncio.sleep(0.01)
    tasks += [asyncio.create_task(ask(engine, on_configuration=counter)) for _ in range(60)]
    async with asyncio.timeout(10):
        while len(counter.failures) < 60 + MAX_UNPROVEN:
            await asyncio.sleep(0.01)
    assert len(transport.requests) == 61 + MAX_UNPROVEN
    counter.go.set()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_job_of_its_own_fails_at_once() -> None:
    engine, transport = engine_of(REFUSED)
    outcomes = await asyncio.gather(*(ask(engine) for _ in range(30)), return_exceptions=True)
    assert all(isinstance(outcome, CallError) for outcome in outcomes)
    assert len(transport.requests) == 30


@pytest.mark.parametrize(("model", "code"), [("openai/gpt", "auth"), ("rehearsal/x", "no_deployment")])
async def test_counts_failures_of_a_missing_configuration(model: str, code: str) -> None:
    engine, counter = Engine(Registry(Deadlines(), {}), calls=4), Counter()
    job, _ = make_job(model, "How many?")
    tasks = [
        asyncio.create_task(engine.ask(job, identity="j", epoch=1, tries=Tries(), on_configuration=counter))
        for _ in range(30)
    ]
    await turns()
    assert [failure.code for failure in counter.failures] == [code] * MAX_UNPROVEN
    counter.go.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert len(counter.failures) == 30


async def test_other_failures_are_the_items_own() -> None:
    for failure in (CallError("invalid_request", "400", status=400), CallError("refusal", "no")):
        engine, _ = engine_of(failure)
        counter = Counter()
        with pytest.raises(CallError):
            await ask(engine, on_configuration=counter)
        assert counter.failures == []


async def test_a_waiting_call_is_handed_back_when_the_process_stops() -> None:
    """Between two tries, for a slot, and before the first answer; a call in flight goes on."""
    engine, transport = engine_of([0.2, answer()], CallError("provider_unavailable", "500", status=500))
    flying = asyncio.create_task(ask(engine))
    await turns()
    pausing = [asyncio.create_task(ask(engine)) for _ in range(20)]
    await turns()
    engine.slots._free = 0
    queued = asyncio.create_task(ask(engine))
    await turns()
    begun = len(transport.requests)
    engine.drain()
    for outcome in await asyncio.gather(*pausing, queued, return_exceptions=True):
        assert isinstance(outcome, Deferred)
        assert outcome.reason == DRAINING
    assert (await flying).content == "hi"
    assert len(transport.requests) == begun
