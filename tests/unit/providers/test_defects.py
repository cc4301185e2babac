"""Defects (docs/conformance.md) that no statement covers."""

from __future__ import annotations

import enum
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import pytest
from fake_transport import FakeTransport, answer, ask, body_of, model_of, piece
from headrace_providers import Model
from headrace_providers.cache import CacheInfo
from headrace_providers.parsers import typed_xml
from headrace_providers.wire.request import warn_unsupported
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import CODES, CallError, HeadraceError, InputError
from headrace.jobs.job import Job
from headrace.portal import run
from headrace.schema.python_types import check_type, plain, schema_of


class Colour(enum.Enum):
    RED = "red"


class Rich(msgspec.Struct):
    colour: Colour
    at: datetime
    id: UUID
    price: Decimal
    raw: bytes
    by_name: dict[str, int]


RICH = (
    '{"colour":"red","at":"2026-01-01T00:00:00Z","id":"12345678-1234-5678-1234-567812345678","price":"1.50",'
    '"raw":"eA==","by_name":{"entries":[{"key":"a.b","value":1}]}}'
)


@pytest.mark.parametrize("provider", ["openai", "vllm"])
def test_d020_a_reasoning_budget_elsewhere_is_left_out_with_a_warning(
    provider: str, capsys: pytest.CaptureFixture[str]
) -> None:
    warn_unsupported.cache_clear()
    assert "reasoning_max_tokens" not in body_of(provider, reasoning_max_tokens=5)
    said = capsys.readouterr()
    assert "reasoning_max_tokens" in said.out + said.err


def test_d036_data_is_plain_json() -> None:
    model = model_of("openai", FakeTransport(answer(RICH)))
    data = ask(model, "sync", generation_schema=Rich).data
    assert data == {
        "colour": "red",
        "at": "2026-01-01T00:00:00Z",
        "id": "12345678-1234-5678-1234-567812345678",
        "price": "1.50",
        "raw": "eA==",
        "by_name": {"a.b": 1},
    }
    assert data["by_name"].get("a.b") == 1
    assert msgspec.json.decode(msgspec.json.encode(data)) == data
    assert plain([datetime(2026, 1, 1, tzinfo=UTC)]) == ["2026-01-01T00:00:00Z"]


def test_d037_keywords_outside_the_subset_stay_at_home() -> None:
    model = model_of("openai", transport := FakeTransport(answer(RICH)))
    ask(model, "sync", generation_schema=Rich)
    text = msgspec.json.encode(transport.body["response_format"]).decode()
    assert "contentEncoding" not in text
    assert '"decimal"' not in text
    assert "{}" not in text


NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)
TEXTS = st.text(st.characters(exclude_categories=("Cs", "Cc")) | st.sampled_from("\t\n\r<>&\"'"))
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4))


@given(st.dictionaries(NAMES, VALUES, min_size=1, max_size=4))
def test_d039_xml_there_and_back(value: dict[str, Any]) -> None:
    try:
        written = typed_xml.encode(value)
    except InputError:  # a non-character
        return
    assert typed_xml.decode(written, unwrap=False) == value


def test_d039_the_schema_for_the_prompt_knows_no_unknown_dtype() -> None:
    class Item(msgspec.Struct):
        a: int | None
        tags: list[str]
        inner: dict[str, int] | None = None

    text = typed_xml.schema_text("item", schema_of(Item))
    assert '<field name="a" dtype="int" required="true" nullable="true">' in text
    assert '<tags_item dtype="str">' in text
    assert '"any"' not in text
    assert "{instructions}" in typed_xml.TEMPLATE
    for bad in ({"a b": 1}, {"a": "\0"}, {"a": float("nan")}):
        with pytest.raises(InputError, match="typed_xml"):
            typed_xml.encode(bad)


@pytest.mark.parametrize("code", CODES)
def test_d065_every_failure_is_one_row_of_one_table(code: str) -> None:
    error = CallError(code, "what happened")
    row = CODES[code]
    assert isinstance(error, HeadraceError)
    assert 400 <= row.http <= 599
    assert row.remedy
    assert error.retryable is row.retryable


def test_d078_a_second_reader_sees_the_same() -> None:
    stream = model_of("openai", FakeTransport([piece(content="a"), piece("stop")]))("x", stream=True)
    run(stream.response())
    assert list(stream.consume()) == list(stream.consume()) == ["a"]


def test_d088_a_stream_is_paid_even_when_the_answer_is_kept() -> None:
    model = model_of("openai", transport := FakeTransport(), enable_cache=True)
    ask(model, "sync")
    ask(model, "stream")
    assert len(transport.requests) == 2


class Elsewhere:
    """A store outside the process, as far as its interface goes."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    async def get(self, key: str) -> bytes | None:
        return self.kept.get(key)

    async def set(self, key: str, value: bytes) -> None:
        self.kept[key] = value

    async def info(self) -> CacheInfo:
        return CacheInfo(0, 0, None, len(self.kept))

    async def clear(self) -> None:
        self.kept.clear()


def test_d089_a_cache_is_shared_by_those_who_are_given_it() -> None:
    store, transport = Elsewhere(), FakeTransport()
    for _ in range(2):
        assert ask(model_of("openai", transport, cache=store), "sync").data == "hi"
    assert len(transport.requests) == 1
    (key,) = store.kept
    assert len(key) == 64
    assert "key" not in store.kept[key].decode()


def test_d099_variables_are_upper_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_PROVIDERS", '{"mine": {"base_url": "http://h/v1"}}')
    assert Model.chat_completion("mine/m").base_url == "http://h/v1"


def test_d100_a_job_names_no_address_and_no_key() -> None:
    assert not {"base_url", "api_key", "headers"} & set(Job.__struct_fields__)
    with pytest.raises(InputError, match="base_url"):
        model_of("openai", base_url="file:///etc/passwd")


def test_check_carried_takes_what_it_does_not_know() -> None:
    check_type({"type": "object"})
