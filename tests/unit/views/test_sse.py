"""Server-sent events: whatever is in the text, every parser gets it back."""

from __future__ import annotations

import json
import re
from typing import Any
from unittest.mock import patch

from headrace_api.streaming.sse import HEARTBEAT, Encoder
from headrace_api.views import Frame
from hypothesis import example, given
from hypothesis import strategies as st
from openai._streaming import SSEDecoder

ODD = "a\x00b\rc\nd\u2028e\u2029f\x85g\x0bh\x0ci\x1cj\ufeffk\U0001f600"
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


def as_the_standard_says(body: bytes) -> list[tuple[str | None, str]]:
    """`(id, data)` of every event (WHATWG HTML, 9.2.6)."""
    events, last_id, data = [], None, []
    for line in re.split("\r\n|\r|\n", body.decode()):
        if not line:
            if data:
                events.append((last_id, "\n".join(data)))
            data = []
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "id" and "\0" not in value:
            last_id = value
        elif field == "data":
            data.append(value)
    return events


@given(st.lists(TEXTS, min_size=1, max_size=5), st.sampled_from([1, 4, 64 << 10]))
@example([ODD], 1)
@example([ODD], 64 << 10)
def test_every_text_comes_back(texts: list[str], piece_bytes: int) -> None:
    with patch(
        "headrace_api.streaming.sse.PIECE_BYTES", piece_bytes
    ):  # also where the pieces of a large one end anywhere
        check(texts)


def check(texts: list[str]) -> None:
    encoder = Encoder()
    frames = [
        Frame(f"17-{place}", json.dumps({"d": text}, ensure_ascii=False).encode()) for place, text in enumerate(texts)
    ]
    body = b"".join(part for frame in frames for part in (HEARTBEAT, encoder.encode([frame])))
    found = as_the_standard_says(body)
    assert [json.loads(data)["d"] for _, data in found] == texts
    assert [id for id, _ in found] == [frame.id for frame in frames]
    assert [json.loads(event.data)["d"] for event in openai(body)] == texts
    # Clients that split as Python's `splitlines` does lose nothing either.
    assert sum(line.startswith("data: ") for line in body.decode().splitlines()) == len(texts)


def openai(body: bytes) -> list[Any]:
    return list(SSEDecoder().iter_bytes(iter([body])))


def test_a_heartbeat_or_a_retry_is_no_event_for_the_openai_client() -> None:
    encoder = Encoder()
    body = (
        HEARTBEAT + encoder.encode([Frame("17-1", b'{"a":1}')]) + HEARTBEAT + encoder.encode([Frame(None, b"[DONE]")])
    )
    assert [event.data for event in openai(body)] == ['{"a":1}', "[DONE]"]
    assert body.count(b"retry: ") == 1
