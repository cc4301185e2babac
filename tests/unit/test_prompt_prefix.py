"""What prompts of a batch share: its key, who is told it, and that it is byte for byte the same in every process."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from headrace_providers.openai import adapt
from headrace_providers.wire.request import build_body
from headrace_worker.engine.prefix_warmups import PrefixWarmups, is_worth_it

from headrace.batches.build import make_template
from headrace.batches.revalidation import template_of
from headrace.batches.template import Item, Template
from headrace.chat.prompt_prefix import FORM, check_prefix_key, prefix_of_messages, prefix_of_template
from headrace.chat.provider_table import OF_OTHERS, PROVIDERS, Registration
from headrace.errors import InputError
from headrace.ledger.prefix_warmup import begin_warmup, end_warmup
from headrace.ledger.script import Ledger

LONG = "You name colours. " * 300
ITEM = Item(custom_id="1", fields={"text": "a"})


def body_of(template: Template, provider: str = "openai", item: Item = ITEM) -> dict[str, Any]:
    return build_body(template.job(item), "m", PROVIDERS[provider], adapt)


def test_a_long_prefix_has_a_key_of_its_content_and_a_short_one_has_none() -> None:
    key = prefix_of_template(LONG, "{text}", None)
    assert FORM.fullmatch(key)
    assert key == prefix_of_template(LONG, "{text} and more after the first place", None)
    assert key != prefix_of_template(LONG + "!", "{text}", None)
    assert key != prefix_of_template(LONG, "Say {text}", None)
    assert prefix_of_template(None, LONG + "{text}", None)
    assert prefix_of_template(None, "{text}", {"description": LONG})
    assert prefix_of_template("short", "{text}", None) == ""
    assert prefix_of_template(None, "{text}" + LONG, None) == "", "it comes after what differs"


def test_examples_of_a_template_are_part_of_its_prefix_up_to_the_first_place() -> None:
    def key(*contents: str) -> str:
        return prefix_of_template(None, "{text}", None, conversation=[{"role": "user", "content": c} for c in contents])

    assert FORM.fullmatch(key("short", LONG, "{text}"))
    assert key("short", LONG, "{text}") == key("short", LONG, "{text} or more")
    assert key("short", LONG, "{text}") != key("other", LONG, "{text}")
    assert key("{text}", LONG) == "", "it comes after what differs"
    assert prefix_of_template(None, "{text}", None, tools=[{"description": LONG}])


def test_a_conversations_prefix_is_what_its_system_says_at_the_beginning() -> None:
    system, user = {"role": "system", "content": LONG}, {"role": "user", "content": "Hi"}
    key = prefix_of_messages([system, user], None, None)
    assert key
    assert key == prefix_of_messages([system, {"role": "user", "content": "Other"}], None, None)
    assert key != prefix_of_messages([system, user], [{"type": "function"}], None)
    assert prefix_of_messages([{"role": "user", "content": LONG}], None, None) == ""
    assert prefix_of_messages([user, system], None, None) == ""


def test_providers_that_take_it_are_told_the_key_and_the_callers_own_wins() -> None:
    template, _ = make_template("openai/m", "{text}", system=LONG)
    assert body_of(template)["prompt_cache_key"] == template.prefix_key
    assert "prompt_cache_key" not in body_of(template, "vllm")
    assert body_of(template, "openrouter")["prompt_cache_key"] == template.prefix_key
    mine, _ = make_template("openai/m", "{text}", system=LONG, prompt_cache_key="mine")
    assert body_of(mine)["prompt_cache_key"] == "mine"
    short, _ = make_template("openai/m", "{text}", system="short")
    assert "prompt_cache_key" not in body_of(short)
    assert b"prefix_key" not in short.encoded()[1], "its body is as it was"


def test_a_server_that_may_not_know_it_is_told_only_where_its_row_says_so() -> None:
    assert OF_OTHERS["prompt_cache_key"] is False
    assert not Registration(base_url="http://127.0.0.1:1/v1").row("x").prompt_cache_key
    assert Registration(base_url="http://127.0.0.1:1/v1", prompt_cache_key=True).row("x").prompt_cache_key


def test_a_key_that_nobody_made_is_refused() -> None:
    for key in ("x", "hr-" + "g" * 32, "hr-" + "0" * 32 + "\n", "a secret"):
        with pytest.raises(InputError, match="prefix_key"):
            check_prefix_key(key)
    template, _ = make_template("openai/m", "{text}", system=LONG)
    with pytest.raises(InputError, match="prefix_key"):
        template_of(template.encoded()[1].replace(b'"prefix_key":"hr-', b'"prefix_key":"xx-'))


PROGRAM = """
import json, sys
from headrace_providers.openai import adapt
from headrace_providers.wire.request import build_body
from headrace.batches.build import make_template
from headrace.batches.template import Item
from headrace.chat.provider_table import PROVIDERS
schema = {"type": "object", "properties": {n: {"type": "string", "enum": ["b", "a", "c"]} for n in "zyxabc"},
    "required": ["z", "a"], "$defs": {n: {"type": "integer"} for n in "qwe"}}
template, _ = make_template("openai/m", "Say {text}", system="Be brief.", schema=schema, temperature=0.5)
for text in ("one", "two"):
    job = template.job(Item(custom_id=text, fields={"text": text}))
    for name in ("openai", "vllm"):
        print(json.dumps(build_body(job, "m", PROVIDERS[name], adapt)))
"""


def test_bodies_are_the_same_in_every_process_but_for_what_is_the_items_own() -> None:
    """Whatever order a process's sets have: a schema that is lowered in another order is another prefix."""
    said = {
        subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout
        for seed in ("0", "1", "2", "3")
    }
    assert len(said) == 1
    one, _, two, _ = said.pop().splitlines()
    assert one.replace("Say one", "Say two") == two
    assert list(json.loads(one))[:2] == ["model", "messages"]
    assert json.loads(one)["messages"][0] == {"role": "system", "content": "Be brief."}


class Priced:
    """A provider whose model has prices."""

    base_url, model_id = "http://x", "m"
    facts = PROVIDERS["openai"]

    def __init__(self, **prices: float):
        self._prices = prices

    def profile(self) -> Any:
        return type("Profile", (), {"input": None, "cache_read": None} | self._prices)()


def test_it_is_worth_a_wait_where_cached_tokens_are_known_to_cost_less() -> None:
    cases = [({}, False), ({"input": 2.0}, False), ({"input": 2.0, "cache_read": 2.0}, False)]
    for prices, is_worth in [*cases, ({"input": 2.0, "cache_read": 0.5}, True)]:
        assert is_worth_it(Priced(**prices)) is is_worth  # pyright: ignore[reportArgumentType]


@pytest.fixture
async def ledger(valkey_url: str, namespace: str) -> Any:
    ledger = Ledger.at(valkey_url, namespace)
    yield ledger
    await ledger.close()


async def test_of_two_processes_one_leads_and_a_lost_reply_changes_nothing(ledger: Ledger) -> None:
    assert await begin_warmup(ledger, "s", owner="a") == "lead"
    assert await begin_warmup(ledger, "s", owner="a") == "lead"
    assert await begin_warmup(ledger, "s", owner="b") == "wait"
    await end_warmup(ledger, "s", is_warm=False)
    assert await begin_warmup(ledger, "s", owner="b") == "lead"
    await end_warmup(ledger, "s", is_warm=True)
    assert await begin_warmup(ledger, "s", owner="c") == "warm"
    assert 0 < await ledger.client.pttl(ledger.keys.warm("s")) <= 240_000


async def no_sleep(_: float) -> None:
    await asyncio.sleep(0.001)


async def ran(warmups: list[PrefixWarmups], calls: int, call: Callable[[int], Awaitable[None]]) -> list[Any]:
    provider: Any = Priced(input=2.0, cache_read=0.5)

    async def one(number: int) -> None:
        own = warmups[number % len(warmups)]
        if own.is_warm(provider, "p"):
            await call(number)
            return
        async with own.turn(provider, "p"):
            await call(number)

    async with asyncio.timeout(20):
        return await asyncio.gather(*(one(number) for number in range(calls)), return_exceptions=True)


async def test_the_others_of_all_processes_wait_for_the_first_answer(ledger: Ledger) -> None:
    begun: list[int] = []
    answered = asyncio.Event()

    async def call(number: int) -> None:
        begun.append(number)
        if len(begun) == 1:
            await asyncio.sleep(0.2)
            assert len(begun) == 1, "nobody else calls meanwhile"
            answered.set()
        assert answered.is_set()

    assert set(await ran([PrefixWarmups(ledger, no_sleep) for _ in range(4)], 40, call)) == {None}
    assert sorted(begun) == list(range(40))


async def test_when_the_first_fails_the_next_goes_alone(ledger: Ledger) -> None:
    begun: list[int] = []

    async def call(number: int) -> None:
        begun.append(number)
        if len(begun) <= 3:
            raise ValueError("failed")

    outcomes = await ran([PrefixWarmups(ledger, no_sleep) for _ in range(2)], 20, call)
    assert sum(outcome is None for outcome in outcomes) == 17
    assert len(begun) == 20


async def test_while_redis_is_away_nobody_waits() -> None:
    away = Ledger.at("redis://127.0.0.1:1", retries=0)
    begun: list[int] = []

    async def call(number: int) -> None:
        begun.append(number)

    assert set(await ran([PrefixWarmups(away, no_sleep)], 5, call)) == {None}
    assert len(begun) == 5
    await away.close()
