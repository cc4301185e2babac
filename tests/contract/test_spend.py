"""What answers cost, held against the account that the rehearsal provider keeps by prices of its own."""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime

import pytest
from headrace_rehearsal.account import AccountedCall
from headrace_rehearsal.charges import Price, charged, total_charged
from stack import Stack, started, until

from headrace import AsyncHeadrace
from headrace.errors import JobFailed
from headrace.settings import Settings

PRICES = {
    ("small", ""): Price(input="0.15", output="0.6", cached="0.0375"),
    ("small", "flex"): Price(input="0.075", output="0.3", cached="0.01875"),
    ("small", "priority"): Price(input="0.27", output="1.08", cached="0.0675"),
    ("large", ""): Price(input="1.2345", output="4.321", cached="0.111"),
}
"""Of the provider. What the service is told of them stands in `PROFILES`: flex costs half where it has no price of its own."""
PROFILES = {
    "rehearsal/small": {
        "input": 0.15,
        "output": 0.6,
        "cache_read": 0.0375,
        "context_length": 4000,
        "tiers": {"priority": {"input": 0.27, "output": 1.08, "cache_read": 0.0675}},
    },
    "rehearsal/large": {"input": 1.2345, "output": 4.321, "cache_read": 0.111, "context_length": 4000},
}
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}
MONEY = ("cost_nano_usd", "unaccounted_nano_usd", "unaccounted_calls", "unpriced_calls", "calls", "saved_nano_usd")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("spend")
    (folder / "profiles.json").write_text(json.dumps(PROFILES))
    (folder / "profiles.json").chmod(0o600)
    environment = {"HEADRACE_PROFILES": str(folder / "profiles.json")}
    with started(folder / "service", "--no-flower", environment=environment) as stack:
        yield stack


@pytest.fixture
async def client(stack: Stack) -> AsyncIterator[AsyncHeadrace]:
    async with AsyncHeadrace(settings=Settings.load(stack.client_environment)) as client:
        yield client


class Money:
    """What the ledger says was spent since this was made."""

    def __init__(self, stack: Stack):
        self._stack = stack
        self._before = self._now()

    def _now(self) -> dict[str, int]:
        with self._stack.client as redis:
            stored = redis.hgetall("{hr}:spend:default")
            today = redis.hgetall(f"{{hr}}:spend:default:{datetime.now(UTC).date()}")
        now = {name: int(stored.get(name.encode(), 0)) for name in MONEY}
        assert {name: int(today.get(name.encode(), 0)) for name in MONEY} == now, "a test that runs over midnight"
        return now

    def spent(self) -> dict[str, int]:
        return {name: number - self._before[name] for name, number in self._now().items()}


def ended_calls(stack: Stack, record_id: str) -> list[AccountedCall]:
    """The calls of a job or a batch, once the account has the end of each."""
    until(lambda: all(call.ended_at for call in stack.calls_of(record_id)), what="the provider has ended its calls")
    return stack.calls_of(record_id)


async def test_every_call_of_jobs_is_on_the_bill(
    client: AsyncHeadrace, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Retries, re-asks, fallbacks, tiers, the provider's prompt cache: the sums are those of the account, to the last digit."""
    monkeypatch.setenv("HEADRACE_MODELS", json.dumps({"mixed": ["vllm/none", "rehearsal/small"]}))
    money, own = Money(stack), secrets.token_hex(4)
    asked = [
        client.submit("rehearsal/small", f"plain {own}"),
        client.submit("rehearsal/small", f"streamed {own}", stream=True),
        client.submit("rehearsal/small", f"[[rehearsal cached=7]] cached by the provider {own}"),
        client.submit("rehearsal/small", f"[[rehearsal fault=500 times=1]] tried again {own}"),
        client.submit(
            "rehearsal/small", f"[[rehearsal fault=miss times=1]] asked again {own}", schema=SCHEMA, reasks=2
        ),
        client.submit("rehearsal/small", f"flex {own}", service_tier="flex"),
        client.submit("rehearsal/small", f"[[rehearsal tier=default]] flex became standard {own}", service_tier="flex"),
        client.submit("rehearsal/small", f"priority {own}", service_tier="priority"),
        client.submit("rehearsal/large", f"dear, and of odd prices {own}"),
        client.submit("openrouter/vendor/model", f"tells its own cost {own}"),
        client.submit("mixed", f"[[rehearsal fault=503 times=1]] falls back {own}"),
        client.submit("rehearsal/small", f"[[rehearsal fault=miss]] paid for nothing {own}", schema=SCHEMA, reasks=1),
    ]
    jobs = [await each for each in asked]
    calls: list[AccountedCall] = []
    for job in jobs:
        try:
            completion = await job.completion()
        except JobFailed:
            completion = None
        own_calls = ended_calls(stack, job.id)
        calls += own_calls
        with stack.client as redis:
            record = int(redis.hget(f"{{hr}}:job:{job.id}", "cost_nano_usd") or 0)
        assert record == total_charged(own_calls, PRICES)
        if completion is not None:
            assert round((completion.cost or 0) * 1e9) == record
    spent = money.spent()
    assert spent["cost_nano_usd"] == total_charged(calls, PRICES)
    assert spent["calls"] == sum(charged(call, PRICES) > 0 for call in calls)
    assert spent["unaccounted_calls"] == spent["unpriced_calls"] == 0


async def test_a_kept_answer_costs_nothing_and_says_what_it_saved(client: AsyncHeadrace, stack: Stack) -> None:
    question = f"kept {secrets.token_hex(4)}"
    first = await client.submit("rehearsal/small", question, cache=True)
    await first.completion()
    money = Money(stack)
    again = await client.submit("rehearsal/small", question, cache=True)
    assert (await again.completion()).cost == 0
    spent = money.spent()
    assert spent["cost_nano_usd"] == spent["calls"] == 0
    assert spent["saved_nano_usd"] == total_charged(ended_calls(stack, first.id), PRICES)


@pytest.mark.parametrize("order", ["fault=cut after=2", "fault=stream_error after=2"])
async def test_a_call_whose_usage_never_arrived_is_listed_with_its_worst_case(
    client: AsyncHeadrace, stack: Stack, order: str
) -> None:
    money = Money(stack)
    job = await client.submit("rehearsal/small", f"[[rehearsal {order}]] {secrets.token_hex(4)}", stream=True)
    with pytest.raises(JobFailed):
        await job.completion()
    spent, account = money.spent(), total_charged(ended_calls(stack, job.id), PRICES)
    assert spent["unaccounted_calls"] == len(stack.calls_of(job.id)) > 0
    assert spent["cost_nano_usd"] < account <= spent["cost_nano_usd"] + spent["unaccounted_nano_usd"]


async def test_a_cancelled_call_is_unaccounted(client: AsyncHeadrace, stack: Stack) -> None:
    money = Money(stack)
    job = await client.submit(
        "rehearsal/small", f"[[rehearsal fault=stall after=2]] {secrets.token_hex(4)}", stream=True
    )
    until(lambda: any(call.first_byte_at for call in stack.calls_of(job.id)), what="the answer has begun")
    await job.cancel()
    with pytest.raises(JobFailed):
        await job.completion()
    until(lambda: all(call.ended_at for call in stack.calls_of(job.id)), what="the provider sees that it was left")
    spent, account = money.spent(), total_charged(ended_calls(stack, job.id), PRICES)
    assert spent["cost_nano_usd"] == 0
    assert spent["unaccounted_calls"] == 1
    assert 0 < account <= spent["unaccounted_nano_usd"]


def test_economy_pays_half_and_falls_back_only_when_allowed(stack: Stack) -> None:
    own = secrets.token_hex(4)
    cheap = stack.extract([{"id": str(n), "text": f"cheap {own} {n}"} for n in range(20)], "--economy")
    until(lambda: stack.batch(cheap)["state"] == "completed", what="the batch has ended")
    calls = ended_calls(stack, cheap)
    assert {call.used.tier for call in calls if call.used} == {"flex"}
    assert int(stack.batch(cheap)["cost_nano_usd"]) == total_charged(calls, PRICES)

    full = [{"id": "1", "text": f"[[rehearsal fault=429 retry_after=30 times=1]] no room {own}"}]
    back = stack.extract(full, "--economy-fallback")
    until(lambda: stack.batch(back)["state"] == "completed", what="it was answered in the standard tier")
    refused, answered = ended_calls(stack, back)
    assert refused.status == 429
    assert answered.used is not None
    assert answered.used.tier == ""
    assert int(stack.batch(back)["cost_nano_usd"]) == charged(answered, PRICES)

    waits = stack.extract([{"id": "1", "text": f"waits {own}"}], "--economy")
    until(lambda: stack.batch(waits).get("waiting"), what="it waits for room")
    assert stack.calls_of(waits) == []
    stack.run("batches", "cancel", waits)
    until(lambda: stack.batch(waits)["state"] == "cancelled", what="it has ended")


async def test_what_was_spent_is_told_over_http(client: AsyncHeadrace, stack: Stack) -> None:
    await (await client.submit("rehearsal/small", f"told {secrets.token_hex(4)}")).completion()
    here = await client.spend()
    through = {name: value for name, value in stack.client_environment.items() if name != "HEADRACE_REDIS_URL"}
    settings = Settings.load(through | {"HEADRACE_API": stack.ready["gateway"]})
    async with AsyncHeadrace(settings=settings) as remote:
        assert await remote.spend() == here
        batch = stack.extract([{"id": "1", "text": "[[rehearsal latency=10000]] slow"}], "--budget", "1.00")
        assert (await remote.batch(batch).progress()).budget_usd == 1.0
        await remote.batch(batch).set_budget("2.50")
        assert (await client.batch(batch).progress()).budget_usd == 2.5
    until(lambda: stack.batch(batch)["state"] == "completed", what="it has ended: its cost is no other test's")
    assert here.total.cost_usd > 0
    assert here.days[0] == here.today


def test_the_items_of_a_batch_are_on_its_bill(stack: Stack) -> None:
    money = Money(stack)
    orders = ["", "fault=500 times=1", "fault=miss times=1", "cached=5", "fault=miss", "tier=priority"]
    lines = [{"id": str(n), "text": f"[[rehearsal {orders[n % 6] or 'latency=1'}]] line {n % 90}"} for n in range(120)]
    schema = stack.folder / "schema.json"
    schema.write_text(json.dumps(SCHEMA))
    batch = stack.extract(lines, "--schema", str(schema), "--reasks", "1")
    until(lambda: stack.batch(batch)["state"] == "completed", what="the batch has ended")
    calls, stored = ended_calls(stack, batch), stack.batch(batch)
    assert len(calls) > 90
    assert int(stored["cached"]) == 120 - 90 - 5  # of the equal lines, those that have an answer
    assert int(stored["cost_nano_usd"]) == money.spent()["cost_nano_usd"] == total_charged(calls, PRICES)
    assert money.spent()["saved_nano_usd"] == int(stored["saved_nano_usd"]) > 0
    paid = sum(
        line["response"]["body"]["usage"]["cost"] for line in stack.lines(batch, "output") if not line.get("cached")
    )
    assert 0 < round(paid * 1e9) <= int(stored["cost_nano_usd"])
