"""A provider is refused at submission only when no worker that is up can call it; who has died says nothing any more."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from headrace_providers.registry import Registry
from headrace_providers.wire.transport import Deadlines
from headrace_worker.worker_process import announcement_of
from stack import started, until

from headrace.client.async_client import AsyncHeadrace
from headrace.errors import InputError
from headrace.ledger.announce import Announcement, announce
from headrace.settings import Settings

WITHOUT = Announcement(usable=["vllm"], lacking={"openai": "OPENAI_API_KEY is not set"})
WITH = Announcement(usable=["vllm", "openai", "mine"])


@pytest.fixture
async def client(valkey_url: str, namespace: str) -> AsyncIterator[AsyncHeadrace]:
    async with AsyncHeadrace(valkey_url, settings=Settings(namespace=namespace)) as client:
        yield client


async def test_while_no_worker_is_up_everything_is_accepted(client: AsyncHeadrace) -> None:
    for model in ("openai/gpt", "mine/x"):
        await client.submit(model, "hello")
    for model in ("gpt", "/gpt", "openai/"):
        with pytest.raises(InputError, match="write `provider/model`"):
            await client.submit(model, "hello")


async def test_a_provider_is_refused_when_all_workers_lack_it(client: AsyncHeadrace) -> None:
    for process in "ab":
        await announce(client.ledger, process, WITHOUT)
    with pytest.raises(InputError, match=r"no worker that is up can call openai \(OPENAI_API_KEY is not set there\)"):
        await client.submit("openai/gpt", "hello")
    with pytest.raises(InputError, match=r"the provider is one of .*vllm"):
        await client.submit("mine/x", "hello")
    await client.submit("vllm/x", "hello")
    assert len(await client.jobs()) == 1


async def test_one_worker_that_has_the_provider_is_enough_and_is_seen_at_once(client: AsyncHeadrace) -> None:
    await announce(client.ledger, "a", WITHOUT)
    with pytest.raises(InputError):
        await client.submit("openai/gpt", "hello")
    await announce(client.ledger, "b", WITH)
    await client.submit("openai/gpt", "hello")
    await client.submit("mine/x", "hello")


async def test_a_dead_workers_word_is_worth_nothing(client: AsyncHeadrace) -> None:
    await client.ledger.client.hset(client.ledger.keys.providers, "dead", b'1000 {"lacking":{"openai":"no key"}}')
    await client.submit("openai/gpt", "hello")


def test_announces_configured_and_usable_providers_and_what_others_lack() -> None:
    found = announcement_of(Registry(Deadlines(), {"OPENROUTER_API_KEY": "k", "HEADRACE_PROVIDERS": ""}))
    assert found.configured == ["openrouter"]
    assert set(found.usable) == {"vllm", "openrouter"}
    assert found.lacking == {"openai": "OPENAI_API_KEY is not set", "rehearsal": "REHEARSAL_BASE_URL is not set"}


def test_an_emptied_redis_is_told_again(tmp_path: Path) -> None:
    """Nothing is refused while nobody has spoken, and within seconds every worker has."""
    with started(tmp_path, "--no-flower", "--no-gateway") as stack, contextlib.closing(stack.client) as redis:
        assert redis.hlen("{hr}:providers") == 3
        refused = stack.run("run", "hello", "--model", "openai/gpt")
        assert refused.returncode == 2
        assert "OPENAI_API_KEY is not set" in refused.stderr
        redis.delete("{hr}:providers")
        assert stack.run("run", "hello", "--model", "rehearsal/small").returncode == 0
        until(lambda: redis.hlen("{hr}:providers") == 3, what="the workers have spoken again", seconds=15)
    assert "announc" not in (tmp_path / "up.log").read_text()
