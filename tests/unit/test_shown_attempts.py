"""A call that broke off after a part of it was shown is not tried again, also where the job would begin anew."""

from __future__ import annotations

from typing import Any

import pytest
from fake_transport import FakeTransport, answer, model_of, piece
from headrace_worker.engine.engine import Engine
from headrace_worker.engine.tries import Tries

from headrace.errors import CallError, Shown
from headrace.jobs.build import make_job

DOWN = CallError("provider_unavailable", "503", status=503)


class Registry:
    def __init__(self, transport: FakeTransport):
        self.transport = transport

    def chat_completion(self, model: str, *, retry: bool = True) -> Any:
        return model_of("openai", self.transport, model.partition("/")[2], retry=False)


class Viewed:
    """The watch of a job; what it has shown can be taken back unless it was `seen`."""

    def __init__(self, seen: bool):
        self.seen = seen
        self.restarts = 0

    def calling(self, provider: str, model: str, mode: Any) -> None: ...
    def routed(self, why: str) -> None: ...
    def delta(self, delta: Any) -> None: ...
    def waiting(self, phase: str, detail: str, wait_s: float) -> None: ...

    async def restart(self, reason: str) -> int:
        self.restarts += 1
        if self.seen:
            raise Shown("job_x")
        return 2


@pytest.mark.parametrize("seen", [False, True])
async def test_what_was_seen_is_not_taken_back(seen: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace_providers.retry.random.uniform", lambda a, b: 0.0)
    transport = FakeTransport([piece(content="How"), DOWN], answer("many"))
    engine = Engine(Registry(transport), calls=8)  # pyright: ignore[reportArgumentType]
    job, _ = make_job("openai/a", "How many?", stream=True, on_retry="reset")
    watch = Viewed(seen)
    asked = engine.ask(job, identity="j", epoch=1, tries=Tries(), watch=watch)
    if seen:
        with pytest.raises(CallError) as caught:
            await asked
        assert caught.value.code == "provider_unavailable", "the failure that broke it off"
    else:
        assert (await asked).content == "many"
    assert (len(transport.requests), watch.restarts) == (1 if seen else 2, 1)
