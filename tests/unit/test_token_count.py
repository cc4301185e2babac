"""Tokens are counted without a vocabulary, near to what real ones make of texts as people write them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rs_bpe.bpe import openai

from headrace.spend.answer_length import MAX_DEPTH, expected_answer
from headrace.spend.token_count import tokens_of

ROOT = Path(__file__).parents[2]
COUNT = openai.o200k_base().count
TEXTS = {
    "prose": (ROOT / "LICENSE").read_text(),
    "markdown": (ROOT / "README.md").read_text(),
    "python": Path(tokens_of.__code__.co_filename).read_text(),
    "json": json.dumps([{"name": f"field_{n}", "value": n / 7, "unit": "mm"} for n in range(99)]),
    "csv": "\n".join(f"{n},{n * 37 % 101 / 8:.3f},user{n}@example.com,2026-11-{n % 28 + 1:02d}" for n in range(99)),
    "german": "Die Lieferung kam leider verspätet an, aber die Qualität des Produkts überzeugt trotzdem. " * 9,
    "french": "Je suis très satisfait de cet achat, la livraison a été rapide et l'emballage soigné. " * 9,
    "chinese": "这个产品质量很好，物流很快，但是说明书不太清楚。客服回复及时。" * 9,
}


@pytest.mark.parametrize("name", TEXTS)
def test_counts_as_a_real_vocabulary_does_within_an_eighth(name: str) -> None:
    assert tokens_of(TEXTS[name]) == pytest.approx(COUNT(TEXTS[name]), rel=0.125)


@pytest.mark.parametrize("text", ["", " ", "\n\n", "\ud800", "\0", "🙂" * 50, "a" * 100_000, "-" * 100_000])
def test_counts_anything(text: str) -> None:
    assert 0 <= tokens_of(text) <= 4 * max(1, len(text))


def test_an_answer_is_as_long_as_its_schema_says() -> None:
    one = {"type": "object", "properties": {"n": {"type": "integer"}}}
    many = {"type": "object", "properties": {f"field_{n}": {"type": "string"} for n in range(30)}}
    assert expected_answer(one) < 15 < 200 < expected_answer(many)
    assert expected_answer({"type": "array", "items": many, "minItems": 10}) > 9 * expected_answer(many)
    assert expected_answer(None) == 256


@pytest.mark.parametrize(
    "schema",
    [{}, {"$ref": "#"}, {"$ref": "#/$defs/x"}, {"$ref": "http://x/y"}, {"enum": []}, {"type": []}, {"properties": 7}],
)
def test_any_schema_has_a_length(schema: dict[str, Any]) -> None:
    assert expected_answer(schema) >= 1


def test_a_schema_that_holds_itself_has_an_end() -> None:
    tree: dict[str, Any] = {"type": "object", "properties": {"next": {"$ref": "#"}}}
    assert 1 <= expected_answer(tree) < 50 * MAX_DEPTH
