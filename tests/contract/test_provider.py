"""The provider class and the engine against a real HTTP provider that misbehaves on request."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from headrace_providers.credentials import remember, scrub
from headrace_providers.openai import RehearsalChatCompletion
from headrace_providers.registry import Registry
from headrace_providers.wire.choice_reducer import Delta
from headrace_providers.wire.transport import Deadlines
from headrace_rehearsal import account
from headrace_worker.engine.deployment_hold import Deferred
from headrace_worker.engine.engine import Engine
from headrace_worker.engine.tries import Tries
from stack import until
from time_scaling import scaled_s

from headrace.errors import CallError
from headrace.jobs.job import Job

SCHEMA = {
    "type": "object",
    "properties": {"colour": {"type": "string"}},
    "required": ["colour"],
    "additionalProperties": False,
}


class Rehearsal:
    def __init__(self, url: str, account_path: Path):
        self.url = url
        self._account = account_path

    def calls(self) -> list[account.AccountedCall]:
        return account.read(self._account)


@pytest.fixture(scope="module", params=["sdk", "http"])
def rehearsal(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rehearsal]:
    """A provider for each transport, which is the one that is used as long as the provider is there."""
    folder = tmp_path_factory.mktemp("rehearsal")
    ready, book = folder / "ready.json", folder / "account.jsonl"
    process = subprocess.Popen(
        [sys.executable, "-m", "headrace_rehearsal", "--port", "0", "--ready-file", str(ready), "--account", str(book)],
        stderr=subprocess.DEVNULL,
    )
    until(ready.exists, what="rehearsal is up")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("HEADRACE_TRANSPORT", request.param)
        yield Rehearsal(f"{json.loads(ready.read_text())['url']}/v1", book)
    process.terminate()
    process.wait()


@pytest.fixture
async def model(rehearsal: Rehearsal) -> AsyncIterator[RehearsalChatCompletion]:
    made = RehearsalChatCompletion("small", base_url=rehearsal.url, api_key="none", retry=False)
    yield made
    await made.close()


def job(text: str, **fields: Any) -> Job:
    return Job(model="rehearsal/small", messages=[{"role": "user", "content": text}], **fields)


def hearing(heard: list[str]) -> Callable[[Delta], None]:
    return lambda delta: heard.append(delta.value)


async def test_a_plain_answer(model: RehearsalChatCompletion) -> None:
    completion = await model.complete(job("The sky is blue."))
    assert completion.content
    assert completion.finish_reason == "stop"
    assert completion.model.startswith("rehearsal-")
    assert completion.usage.input_tokens > 0
    assert completion.value is None


async def test_a_streamed_answer_is_the_same_as_a_plain_one(model: RehearsalChatCompletion) -> None:
    plain = await model.complete(job("The sky is blue and the sea is green."))
    heard: list[str] = []
    streamed = await model.complete(job("The sky is blue and the sea is green.", stream=True), on_delta=hearing(heard))
    assert len(heard) > 1
    assert "".join(heard) == streamed.content == plain.content
    assert streamed.usage == plain.usage


async def test_an_answer_under_a_schema(model: RehearsalChatCompletion) -> None:
    completion = await model.complete(job("The colour is blue.", schema=SCHEMA))
    assert set(completion.value) == {"colour"}


@pytest.mark.parametrize(
    ("fault", "code", "schema"),
    [
        ("400", "invalid_request", None),
        ("401", "auth", None),
        ("402", "payment", None),
        ("404", "not_found", None),
        ("429", "rate_limited", None),
        ("500", "provider_unavailable", None),
        ("529", "provider_unavailable", None),
        ("miss", "invalid_output", SCHEMA),
        ("refusal", "refusal", SCHEMA),
        ("length", "truncated", SCHEMA),
    ],
)
async def test_each_failure_has_its_code(
    model: RehearsalChatCompletion, fault: str, code: str, schema: dict[str, Any] | None
) -> None:
    with pytest.raises(CallError) as failed:
        await model.complete(job(f"[[rehearsal fault={fault}]] The colour is blue.", schema=schema))
    assert failed.value.code == code
    if schema:
        assert failed.value.partial, "a paid answer is kept"
        assert failed.value.details["counters"]["output_tokens"] > 0


async def test_repairs_malformed_json(model: RehearsalChatCompletion) -> None:
    completion = await model.complete(job("[[rehearsal fault=malformed]] The colour is blue.", schema=SCHEMA))
    assert (set(completion.value), completion.repaired) == ({"colour"}, True)


async def test_a_stream_that_breaks_off_is_no_success(model: RehearsalChatCompletion) -> None:
    heard: list[str] = []
    with pytest.raises(CallError) as failed:
        await model.complete(
            job("[[rehearsal fault=cut after=2]] The sky is blue and wide.", stream=True),
            on_delta=hearing(heard),
        )
    assert failed.value.code in {"incomplete_stream", "connection"}
    assert heard


@pytest.mark.parametrize(("stream", "limit"), [(False, "total_s"), (True, "first_token_s"), (True, "total_s")])
async def test_a_provider_that_hangs_meets_a_deadline(rehearsal: Rehearsal, stream: bool, limit: str) -> None:
    # Enough for the request to be there on a busy machine: a transport's library is imported within it.
    deadlines = Deadlines(**{limit: scaled_s(1.0)})
    model = RehearsalChatCompletion("small", base_url=rehearsal.url, api_key="none", retry=False, deadlines=deadlines)
    began = time.monotonic()
    with pytest.raises(CallError) as failed:
        await model.complete(job(f"[[rehearsal fault=hang]] {limit} {stream}", stream=stream))
    assert failed.value.code == "timeout"
    assert time.monotonic() - began < 20, "not the limits that a call has otherwise"
    await asyncio.to_thread(
        lambda: until(lambda: rehearsal.calls()[-1].gone_at, what="the provider sees that we left", seconds=5)
    )
    await model.close()


async def test_a_stream_that_stalls_meets_the_idle_deadline(rehearsal: Rehearsal) -> None:
    model = RehearsalChatCompletion(
        "small", base_url=rehearsal.url, api_key="none", retry=False, deadlines=Deadlines(idle_s=0.3)
    )
    with pytest.raises(CallError, match="next chunk"):
        await model.complete(job("[[rehearsal fault=stall after=1]] The sky is blue.", stream=True), on_delta=print)
    await model.close()


async def test_called_directly_it_tries_again(rehearsal: Rehearsal) -> None:
    model = RehearsalChatCompletion("small", base_url=rehearsal.url, api_key="none")
    before = len(rehearsal.calls())
    completion = await model.complete(job("[[rehearsal fault=500 times=2]] The sky is blue, twice."))
    assert completion.content
    assert len(rehearsal.calls()) - before == 3
    await model.close()


async def test_nobody_there_is_a_connection_error() -> None:
    model = RehearsalChatCompletion("small", base_url="http://127.0.0.1:9/v1", api_key="none", retry=False)
    with pytest.raises(CallError) as failed:
        await model.complete(job("The sky is blue."))
    assert failed.value.code == "connection"
    await model.close()


@pytest.fixture
async def engine(rehearsal: Rehearsal, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Engine]:
    monkeypatch.setenv("REHEARSAL_BASE_URL", rehearsal.url)
    registry = Registry(Deadlines())
    yield Engine(registry, calls=4)
    await registry.close()


async def test_the_budget_is_five_calls(engine: Engine, rehearsal: Rehearsal) -> None:
    tries = Tries(calls=0, spent=3)  # of an earlier attempt, kept by the ledger
    with pytest.raises(CallError) as failed:
        await engine.ask(job("[[rehearsal fault=500]] Never."), identity="job_budget", epoch=7, tries=tries)
    assert failed.value.code == "provider_unavailable"
    assert (tries.calls, tries.spent) == (2, 5)
    ids = [call.request_id for call in rehearsal.calls() if (call.request_id or "").startswith("job_budget.")]
    assert ids == ["job_budget.7.1", "job_budget.7.2"]
    assert Tries.parse(str(tries)) == tries


async def test_a_long_wait_is_left_to_the_ledger_and_costs_nothing_of_the_budget(engine: Engine) -> None:
    tries = Tries()
    with pytest.raises(Deferred) as deferred:
        await engine.ask(job("[[rehearsal fault=429 retry_after=30]] Busy."), identity="job_a", epoch=1, tries=tries)
    assert 29 < deferred.value.delay_s < 35
    assert (tries.calls, tries.spent) == (1, 0)


async def test_a_limit_holds_the_deployment_and_not_the_item(engine: Engine, rehearsal: Rehearsal) -> None:
    """Those who come after it make no call at all, and are told why."""
    before = len(rehearsal.calls())
    for n in range(5):
        with pytest.raises(Deferred, match="rate_limited: rehearsal says wait 30 s"):
            await engine.ask(
                job("[[rehearsal fault=429 retry_after=30]] Busy."), identity=f"job_l{n}", epoch=1, tries=Tries()
            )
    assert len(rehearsal.calls()) - before == 1
    held = engine.held("rehearsal/large")
    assert held is not None
    assert held.delay_s > 29


async def test_a_moment_is_waited_for_here_without_a_slot(engine: Engine) -> None:
    began = time.monotonic()
    await engine.ask(
        job("[[rehearsal fault=429 retry_after=0.2 times=1]] Soon."), identity="job_b", epoch=1, tries=Tries()
    )
    assert time.monotonic() - began >= 0.2


async def test_calls_in_flight_are_bounded(engine: Engine, rehearsal: Rehearsal) -> None:
    before = len(rehearsal.calls())
    await asyncio.gather(
        *(
            engine.ask(job(f"[[rehearsal latency=150]] Number {n}."), identity=f"job_{n}", epoch=1, tries=Tries())
            for n in range(12)
        )
    )
    calls = rehearsal.calls()[before:]
    most = max(sum(each.received_at <= call.received_at < (each.ended_at or 0) for each in calls) for call in calls)
    assert most <= 4


async def test_names_the_variable_of_a_provider_without_configuration(rehearsal: Rehearsal) -> None:
    registry = Registry(Deadlines(), {})
    with pytest.raises(CallError, match="REHEARSAL_BASE_URL"):
        registry.chat_completion("rehearsal/small")
    with pytest.raises(CallError, match="OPENAI_API_KEY"):
        registry.chat_completion("openai/gpt")
    assert registry.configured() == []


def test_a_key_never_stands_in_an_error() -> None:
    remember("my-own-key-1234")
    text = scrub("Incorrect API key provided: sk-abcdefgh12345. Bearer tokentoken my-own-key-1234")
    assert "abcdefgh" not in text
    assert "tokentoken" not in text
    assert "my-own-key" not in text
    assert len(scrub("x" * 10_000, most=500)) < 600
