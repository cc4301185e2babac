"""Forecasts, held against a stand-in that counts with a real vocabulary, of texts as people write them."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from headrace_rehearsal.charges import Price, total_charged
from stack import Stack, started, until

PRICES = {("small", ""): Price(input="0.25", output="2", cached="0.025")}
PROFILE = {"rehearsal/small": {"input": 0.25, "output": 2, "cache_read": 0.025, "context_length": 100_000}}
ITEMS = 5000
SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["product", "sentiment", "score", "topics"],
    "properties": {
        "product": {
            "type": "string",
            "description": "The product that the customer writes about, as it is named there.",
        },
        "sentiment": {"enum": ["positive", "neutral", "negative"]},
        "score": {"type": "integer", "minimum": 1, "maximum": 5, "description": "How content the customer is."},
        "topics": {"type": "array", "items": {"type": "string"}, "maxItems": 3},
    },
}
SENTENCES = [
    "The parcel came two days late, and the driver left it in the rain.",
    "I've used this blender every morning since 2024-03-17 and it's still as quiet as on day one.",
    "Customer support (order #A-48213) answered within 15 minutes - impressive!",
    'Instructions are only in German: "Vor Gebrauch gründlich reinigen", which didn\'t help me.',
    "Honestly, for €39.99 you can't expect more; the lid broke after three weeks.",
    "My daughter loves it!!! Would buy again.",
    "Battery life: about 7.5 hours of video at 80% brightness, less when Bluetooth is on.",
    "Unfortunately the replacement had exactly the same defect, so I asked for a refund.",
]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("forecast")
    (folder / "profiles.json").write_text(json.dumps(PROFILE))
    (folder / "profiles.json").chmod(0o600)
    environment = {"HEADRACE_PROFILES": str(folder / "profiles.json")}
    flag = "--rehearsal-flag=--tokenizer=o200k_base"
    with started(folder / "service", "--no-flower", flag, environment=environment) as stack:
        yield stack


def written(folder: Path, count: int) -> tuple[str, ...]:
    """A file of reviews of very different lengths, some of them equal, and the schema: the arguments of `extract`."""
    chance = random.Random(7)
    lines: list[dict[str, Any]] = [
        {"id": str(n), "text": f"Review {n}: " + " ".join(chance.choices(SENTENCES, k=chance.choice((1, 2, 5, 12))))}
        for n in range(count)
    ]
    for n in range(0, count, 50):
        lines[n]["text"] = "No comment."
    source, schema = folder / "reviews.jsonl", folder / "schema.json"
    source.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    schema.write_text(json.dumps(SCHEMA))
    system = "You read reviews of a shop, and say what each of them is about."
    return str(source), "--schema", str(schema), "--model", "rehearsal/small", "--system", system


def forecast(stack: Stack, *arguments: str) -> dict[str, Any]:
    done = stack.run("forecast", *arguments)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["forecast"]


def test_a_forecast_is_what_the_account_shows_afterwards(stack: Stack, tmp_path: Path) -> None:
    arguments = written(tmp_path, ITEMS)
    plain = forecast(stack, *arguments)
    assert stack.calls() == []
    assert (plain["items"], plain["equal"], plain["calls"]) == (ITEMS, ITEMS // 50 - 1, ITEMS - ITEMS // 50 + 1)
    sampled = forecast(stack, *arguments, "--sample", "20")
    paid = len(stack.calls())
    assert 1 <= paid <= 20
    done = stack.run("extract", *arguments, "--detach", "--weight", "100")
    batch = done.stdout.strip()
    until(lambda: stack.batch(batch)["state"] == "completed", what="the batch has ended", seconds=180)
    until(lambda: all(call.ended_at for call in stack.calls()), what="the provider has ended its calls")
    calls = stack.calls()
    assert len(calls) == plain["calls"], "the sample was paid twice"
    tokens = sum(call.used.input_tokens for call in calls if call.used)
    cost = total_charged(calls, PRICES) / 1e9
    for said, within in ((plain, 0.15), (sampled, 0.05)):
        print(said["input_tokens"], tokens, said["cost_usd"], cost)
        assert said["input_tokens"]["expected"] == pytest.approx(tokens, rel=within)
        assert said["input_tokens"]["low"] <= tokens <= said["input_tokens"]["high"]
        assert said["cost_usd"]["low"] <= cost <= said["cost_usd"]["high"]
    assert sampled["sampled"] == 20


def test_says_what_will_be_refused_and_how_long_limits_let_it_take(stack: Stack, tmp_path: Path) -> None:
    source = tmp_path / "rows.jsonl"
    source.write_text('{"text": "a"}\n{"other": "b"}\n' + json.dumps({"text": "word " * 200_000}) + "\n")
    limits = {**stack.client_environment, "HEADRACE_LIMITS": json.dumps({"rehearsal": {"requests_per_min": 4}})}
    named = Stack(stack.folder, stack.process, limits)
    said = forecast(named, str(source), "--model", "rehearsal/small", "--on-bad-row", "error")
    assert (said["items"], said["refused"], said["too_long"]) == (3, 1, 1)
    assert said["minutes"] >= 0.5
