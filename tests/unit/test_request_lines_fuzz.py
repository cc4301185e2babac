"""Lines of any shape: each becomes an item that can be asked and written, or an error with its number, and nothing else."""

from __future__ import annotations

import json
import random
from typing import Any

import msgspec
import pytest
from gateway_mutants import CHAT, FILLER, mutated

from headrace.batches.inputs.sources import MAX_ERROR_CHARS
from headrace.batches.request_lines import CHAT as CHAT_URL
from headrace.batches.request_lines import RESPONSES, Rejected, RequestLines
from headrace.batches.template import Item, Template

ROUNDS = 1500
RESPONSE: dict[str, Any] = {
    "model": "rehearsal/small",
    "input": [{"role": "user", "content": [{"type": "input_text", "text": "x"}]}],
    "instructions": "x",
    "tools": [{"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}}],
    "text": {"format": {"type": "json_object"}},
    "reasoning": {"effort": "low"},
    "metadata": {"k": "v"},
    "max_output_tokens": 5,
}


@pytest.mark.parametrize(
    ("endpoint", "body"),
    [
        (CHAT_URL, {name: value for name, value in CHAT.items() if name not in ("headrace", "stream_options")}),
        (RESPONSES, RESPONSE),
    ],
)
def test_of_the_endpoint(endpoint: str, body: dict[str, Any]) -> None:
    chance, taken = random.Random(4), 0
    for number in range(ROUNDS):
        line: Any = {"custom_id": f"r{number}", "method": "POST", "url": endpoint, "body": body}
        for _ in range(chance.choice([0, 1, 1, 2, 4])):
            line = mutated(line, chance)
        raw = json.dumps(line).encode()
        if chance.random() < 0.05:
            raw = raw[: chance.randrange(len(raw) + 1)]
        reader = RequestLines(Template(model=""), endpoint=endpoint, max_lines=10, skip_bad=chance.random() < 0.2)
        try:
            found = list(reader.items(iter([raw + b"\n"])))
        except Rejected as rejected:
            (error,) = rejected.errors
            assert error.line in (1, None)
            assert len(error.message) <= MAX_ERROR_CHARS
            assert len(error.param or "") <= 200
            assert error.message.count(FILLER) <= MAX_ERROR_CHARS
            continue
        (item,) = found
        written = msgspec.json.decode(msgspec.json.encode(item), type=Item)
        assert written == item
        if item.refused is None:
            Template(model="rehearsal/small").job(written)
            taken += 1
    assert taken > ROUNDS / 10
