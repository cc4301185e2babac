"""Bodies of 32 MB: how many values there are is known before they are decoded, and what texts contain is no value."""

from __future__ import annotations

import json

import pytest
from headrace_api.requests.chat_completions import read_object
from headrace_api.requests.value_count import MAX_NODES, PIECE, too_many_nodes
from hypothesis import given
from hypothesis import strategies as st
from resource_usage import cost_of

SIZE = 32 << 20
MAX_CPU_S = 1.0
JSON = st.recursive(
    st.none() | st.integers() | st.text('a,[]{}":\\é', max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text('a,[{"\\', max_size=3), inner, max_size=4),
)


def filled(piece: bytes, begin: bytes = b"", end: bytes = b"") -> bytes:
    return begin + piece * ((SIZE - len(begin) - len(end)) // len(piece)) + end


BODIES = {
    "lists": filled(b"[],", b"["),
    "nested": filled(b"["),
    "numbers": filled(b"1,", b"["),
    "quotes": filled(b'"'),
    "texts": filled(b'"",', b"["),
    "backslashes": filled(b"\\", b'{"a":,,'),
    "escaped quotes": filled(b'\\"', b'{"a":"', b'"}'),
    "blanks": filled(b" "),
    "a number": filled(b"9", b'{"a":', b"}"),
    "no end": filled(b"[,", b'{"a":"'),
}


@pytest.mark.parametrize("name", BODIES)
def test_refusing_a_body_is_quick(name: str) -> None:
    cost = cost_of(lambda: read_object(BODIES[name]) and None)
    assert cost.cpu_s < MAX_CPU_S, cost
    assert cost.more_mb < 100, cost


def values(value: object) -> tuple[int, int]:
    """How many values there are, and how many of them are empty lists and objects: these count twice."""
    if not isinstance(value, dict | list):
        return 1, 0
    inner = [values(each) for each in (value.values() if isinstance(value, dict) else value)]
    return 1 + sum(each for each, _ in inner), (not inner) + sum(empty for _, empty in inner)


@given(JSON, st.integers(1, 40))
def test_values_are_counted_wherever_the_text_is_cut(value: object, piece: int) -> None:
    raw = json.dumps(value, ensure_ascii=False).encode()
    count, empty = values(value)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("headrace_api.requests.value_count.PIECE", piece)
        least = next(most for most in range(len(raw) + 1) if not too_many_nodes(raw, most))
    assert count <= least <= count + empty


def test_does_not_count_brackets_within_texts() -> None:
    for text in (", " * MAX_NODES, "[{" * MAX_NODES, '\\",' * MAX_NODES, '"[' * PIECE * 4):
        assert not too_many_nodes(json.dumps({"a": text, "b": [text]}).encode())
    assert too_many_nodes(b"[" + b"0," * MAX_NODES + b"0]")
    assert not too_many_nodes(b"[" + b"0," * (MAX_NODES - 3) + b"0]")
