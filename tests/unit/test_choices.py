"""Several choices of one job where a call gives one: as many calls, each checked, counted and paid once."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from fake_transport import FakeTransport, answer, model_of
from headrace_providers.cache import MemoryCache
from headrace_worker.engine.deployment_hold import Deferred
from headrace_worker.engine.engine import Engine
from headrace_worker.engine.tries import Tries

from headrace.errors import CallError, InputError
from headrace.jobs.build import make_job

NUMBER = {
    "type": "object",
    "properties": {"n": {"type": "integer"}},
    "required": ["n"],
    "additionalProperties": False,
}
LIMITED = CallError("rate_limited", "429", status=429, retry_after_s=60)


class OneModel:
    def __init__(self, provider: str, *script: Any):
        self.transport = FakeTransport(*script)
        self.model = model_of(provider, self.transport, retry=False)

    def chat_completion(self, model: str, *, retry: bool = True) -> Any:
        return self.model


class Asked:
    """An engine over one model, asked again and again for the same job."""

    def __init__(self, *script: Any, provider: str = "openrouter"):
        self.registry = OneModel(provider, *script)
        self.provider = provider
        self.engine = Engine(self.registry, calls=8, choices=MemoryCache())  # pyright: ignore[reportArgumentType]
        self.tries = Tries()

    async def __call__(self, n: int, **words: Any) -> Any:
        job, _ = make_job(f"{self.provider}/m", "How many?", n=n, **words)
        return await self.engine.ask(job, identity="j", epoch=1, tries=self.tries)

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return self.registry.transport.bodies


async def test_each_choice_is_a_call_and_all_are_counted() -> None:
    asked = Asked(answer("one"), answer("two"), answer("three"))
    completion = await asked(3, seed=7)
    contents = [completion.content, *(choice.content for choice in completion.other_choices)]
    assert sorted(contents) == ["one", "three", "two"]
    assert (completion.usage.input_tokens, completion.usage.output_tokens) == (9, 6)
    ids = {request.headers["X-Client-Request-Id"] for request in asked.registry.transport.requests}
    assert ids == {"j.1.1", "j.1.2", "j.1.3"}
    assert not any("n" in body for body in asked.bodies)
    assert sorted(body["seed"] for body in asked.bodies) == [7, 8, 9], "with one seed all would say the same"


async def test_a_provider_that_gives_all_of_them_is_called_once() -> None:
    both = answer("one")
    both["choices"].append({"index": 1, "message": {"role": "assistant", "content": "two"}, "finish_reason": "stop"})
    asked = Asked(both, provider="openai")
    completion = await asked(2)
    assert [completion.content, completion.other_choices[0].content] == ["one", "two"]
    assert [body["n"] for body in asked.bodies] == [2]


async def test_each_choice_is_held_to_the_schema() -> None:
    asked = Asked(answer('{"n": 1}'), answer('{"n": 2}'), provider="openai")
    completion = await asked(2, schema=NUMBER)
    assert {completion.value["n"], msgspec.json.decode(completion.other_choices[0].content)["n"]} == {1, 2}
    assert len(asked.bodies) == 2, "one call would leave the second one unread"


async def test_a_failed_choice_fails_the_request_with_what_was_paid() -> None:
    asked = Asked(answer('{"n": 1}'), [0.05, answer("no JSON")])
    with pytest.raises(CallError) as caught:
        await asked(2, schema=NUMBER)
    assert caught.value.code == "invalid_output"
    assert caught.value.details["counters"]["input_tokens"] == 6


async def test_a_choice_that_was_paid_is_not_paid_again_after_a_wait() -> None:
    asked = Asked(answer("one"), LIMITED, answer("two"))
    with pytest.raises(Deferred):
        await asked(2)
    assert len(asked.bodies) == 2
    asked.engine.holds._holds.clear()  # the wait is over
    completion = await asked(2)
    assert sorted([completion.content, completion.other_choices[0].content]) == ["one", "two"]
    assert len(asked.bodies) == 3


async def test_failed_calls_of_all_choices_are_one_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace_providers.retry.random.uniform", lambda a, b: 0.0)
    asked = Asked(CallError("provider_unavailable", "503", status=503))
    with pytest.raises(CallError):
        await asked(2)
    assert len(asked.bodies) <= 6


async def test_more_than_eight_are_refused() -> None:
    with pytest.raises(CallError, match="8 at most"):
        await Asked(answer("one"))(9)
    with pytest.raises(InputError, match="8 choices at most"):
        await Asked(answer("one"), provider="openai")(9, schema=NUMBER)
