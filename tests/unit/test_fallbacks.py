"""A job's models take turns when a provider fails: within one budget, and only for faults of the provider's."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from fake_transport import FakeTransport, answer, model_of, piece
from headrace_worker.engine import fallbacks
from headrace_worker.engine.alias_router import AliasRouter, BreakerScope
from headrace_worker.engine.deployment_hold import Deferred
from headrace_worker.engine.engine import Engine
from headrace_worker.engine.tries import Tries

from headrace.batches.revalidation import check_job
from headrace.errors import CallError, InputError
from headrace.jobs.build import make_job

MODELS = {"openai/a": "openai", "vllm/b": "vllm", "openrouter/c": "openrouter"}
DOWN = CallError("provider_unavailable", "503", status=503)
WRONG_KEY = CallError("auth", "401", status=401)
NUMBER = {
    "type": "object",
    "properties": {"n": {"type": "integer"}},
    "required": ["n"],
    "additionalProperties": False,
}
LIMITED = CallError("rate_limited", "429", status=429, retry_after_s=60)


class Several:
    """A registry of one model per provider."""

    def __init__(self, **transports: FakeTransport):
        self.transports = {name: transports.get(name, FakeTransport(answer(name))) for name in MODELS.values()}
        self.models = {
            model: model_of(name, self.transports[name], model.partition("/")[2], retry=False)
            for model, name in MODELS.items()
        }

    def chat_completion(self, model: str, *, retry: bool = True) -> Any:
        return self.models[model]


class Watching:
    """Notes what is called and shown."""

    def __init__(self) -> None:
        self.called: list[str] = []
        self.shown: list[Any] = []
        self.why: list[str] = []

    def calling(self, provider: str, model: str, mode: Any) -> None:
        self.called.append(model)

    def routed(self, why: str) -> None:
        self.why.append(why)

    def delta(self, delta: Any) -> None:
        self.shown.append(delta)

    def waiting(self, phase: str, detail: str, wait_s: float) -> None: ...

    async def restart(self, reason: str) -> int:
        return 2


class Asked:
    """An engine over scripts, by the provider's name, and what came of one job."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **scripts: list[Any]):
        self.registry = Several(**{name: FakeTransport(*script) for name, script in scripts.items()})
        self.engine = Engine(self.registry, calls=8)  # pyright: ignore[reportArgumentType]
        self.tries = Tries()
        self.watch = Watching()
        monkeypatch.setattr("headrace_providers.retry.random.uniform", lambda a, b: 0.0)

    async def __call__(self, **words: Any) -> Any:
        job, _ = make_job("openai/a", "How many?", **words)
        job = msgspec.structs.replace(job, fallbacks=["vllm/b", "openrouter/c"])
        self.watch = Watching()
        return await self.engine.ask(job, identity="j", epoch=1, tries=self.tries, watch=self.watch)

    @property
    def calls(self) -> dict[str, int]:
        return {name: len(transport.requests) for name, transport in self.registry.transports.items()}


@pytest.mark.parametrize("fault", [DOWN, WRONG_KEY, CallError("timeout", "late"), CallError("connection", "refused")])
async def test_a_fault_of_the_provider_moves_the_job_on_at_once(
    fault: CallError, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Asked(monkeypatch, openai=[fault])
    completion = await asked()
    assert completion.content == "vllm"
    assert asked.watch.called == ["openai/a", "vllm/b"]
    assert asked.watch.why == ["first", "fallback"]
    assert asked.calls == {"openai": 1, "vllm": 1, "openrouter": 0}
    ids = [t.requests[0].headers["X-Client-Request-Id"] for t in asked.registry.transports.values() if t.requests]
    assert ids == ["j.1.1", "j.1.2"], "one numbering of calls over all"


@pytest.mark.parametrize(
    "failure",
    [CallError("invalid_request", "400", status=400), CallError("content_filter", "no"), answer(None, refusal="no")],
)
async def test_what_would_be_the_same_elsewhere_does_not(failure: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked(monkeypatch, openai=[failure])
    with pytest.raises(CallError):
        await asked(schema={"type": "object"})
    assert asked.calls == {"openai": 1, "vllm": 0, "openrouter": 0}


async def test_an_invalid_output_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked(monkeypatch, openai=[answer("no JSON")])
    with pytest.raises(CallError) as caught:
        await asked(schema={"type": "object"})
    assert caught.value.code == "invalid_output"
    assert asked.calls == {"openai": 1, "vllm": 0, "openrouter": 0}


async def test_nor_does_a_fault_after_something_was_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked(monkeypatch, openai=[[piece(content="How"), DOWN]])
    with pytest.raises(CallError):
        await asked(stream=True)
    assert asked.calls == {"openai": 1, "vllm": 0, "openrouter": 0}


async def test_five_calls_are_the_budget_over_all_models(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked(monkeypatch, openai=[DOWN], vllm=[DOWN], openrouter=[DOWN])
    with pytest.raises(CallError) as caught:
        await asked()
    assert sum(asked.calls.values()) == 5 == asked.tries.spent
    assert asked.calls == {"openai": 2, "vllm": 2, "openrouter": 1}
    assert (
        str(caught.value)
        == "vllm/b: 503 (before it openrouter/c: provider_unavailable, openai/a: provider_unavailable)"
    )


async def test_a_refused_key_is_not_tried_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked(monkeypatch, openai=[WRONG_KEY], vllm=[DOWN], openrouter=[DOWN, answer("late")])
    assert (await asked()).content == "late"
    assert asked.calls == {"openai": 1, "vllm": 2, "openrouter": 2}


async def test_a_limit_beyond_patience_passes_a_deployment_over_without_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked(monkeypatch, openai=[LIMITED])
    assert (await asked()).content == "vllm"
    assert (await asked()).content == "vllm"
    assert asked.calls == {"openai": 1, "vllm": 2, "openrouter": 0}
    assert asked.tries.spent == 0, "what a limit refused does not count"


async def test_a_short_limit_is_waited_out(monkeypatch: pytest.MonkeyPatch) -> None:
    short = CallError("rate_limited", "429", status=429, retry_after_s=1)
    asked = Asked(monkeypatch, openai=[short])
    with pytest.raises(Deferred):
        await asked()
    assert asked.calls == {"openai": 1, "vllm": 0, "openrouter": 0}


async def test_with_all_held_the_job_comes_back_when_the_first_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    sooner = CallError("rate_limited", "429", status=429, retry_after_s=20)
    asked = Asked(monkeypatch, openai=[LIMITED], vllm=[sooner], openrouter=[LIMITED])
    with pytest.raises(Deferred) as caught:
        await asked()
    assert 19 < caught.value.delay_s < 25
    held = asked.engine.held(*MODELS)
    assert held is not None
    assert held.delay_s < 25


async def test_a_provider_that_failed_a_moment_ago_is_asked_last(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked(monkeypatch, openai=[DOWN])
    await asked()
    await asked()
    assert asked.calls["openai"] == 1
    assert asked.watch.called == ["vllm/b"]
    monkeypatch.setattr(fallbacks, "PASSED_OVER_S", -1.0)
    asked.engine.faulty.add("openai/a")
    await asked()
    assert asked.calls["openai"] == 2, "later it is the first again"


async def test_what_was_paid_before_a_fault_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked(monkeypatch, openai=[answer("no JSON"), DOWN], vllm=[answer('{"n": 1}')])
    completion = await asked(schema=NUMBER, reasks=1)
    assert (completion.reasks, completion.usage.input_tokens) == (1, 6)
    assert "no JSON" in str(asked.registry.transports["vllm"].body["messages"]), "it is asked again, not anew"


async def test_many_jobs_fall_back_together(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked(monkeypatch, openai=[LIMITED])
    completions = await asyncio.gather(*(asked() for _ in range(50)))
    assert {completion.content for completion in completions} == {"vllm"}


async def test_a_configuration_is_told_of_when_no_model_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []

    async def on_configuration(failure: CallError) -> None:
        told.append(failure.code)

    job, _ = make_job("openai/a", "How many?")
    job = msgspec.structs.replace(job, fallbacks=["vllm/b"])
    words: dict[str, Any] = {"identity": "j", "epoch": 1, "on_configuration": on_configuration}
    answered = Asked(monkeypatch, openai=[WRONG_KEY])
    await answered.engine.ask(job, tries=Tries(), **words)
    assert told == [], "the batch goes on"
    refused = Asked(monkeypatch, openai=[WRONG_KEY], vllm=[WRONG_KEY])
    with pytest.raises(CallError):
        await refused.engine.ask(job, tries=Tries(), **words)
    assert told == ["auth"]
    assert refused.calls == {"openai": 1, "vllm": 1, "openrouter": 0}


def test_a_body_with_too_many_is_refused() -> None:
    job, _ = make_job("openai/a", "How many?")
    check_job(msgspec.structs.replace(job, fallbacks=["vllm/b"] * 7))
    with pytest.raises(InputError, match="7 models at most"):
        check_job(msgspec.structs.replace(job, fallbacks=["vllm/b"] * 8))


class OpenBreakers:
    """Breakers of which all are open."""

    def wait_s(self, scope: str) -> float:
        return 7.0


async def test_while_no_model_is_called_a_job_waits_and_fails_at_last(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked(monkeypatch)
    asked.engine.router = AliasRouter(OpenBreakers(), lambda model: BreakerScope(model, model))  # pyright: ignore[reportArgumentType]
    for _ in range(4):
        with pytest.raises(Deferred) as deferred:
            await asked()
        assert (deferred.value.delay_s, deferred.value.reason) == (7.0, "provider_unavailable")
    with pytest.raises(CallError, match="openrouter/c: its calls fail") as caught:
        await asked()
    assert (caught.value.code, caught.value.status) == ("provider_unavailable", 503)
    assert asked.calls == {"openai": 0, "vllm": 0, "openrouter": 0}
