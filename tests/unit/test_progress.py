"""Progress on standard error says why a batch stands still."""

from __future__ import annotations

from typing import Any

import pytest

from headrace.cli.progress import PlainProgress
from headrace.events.types import BatchCounts, BatchProgress, BatchStateChange

NUMBERS = dict.fromkeys(("succeeded", "failed", "cancelled", "dead", "input_tokens", "output_tokens"), 0)


def event(kind: type[BatchCounts] = BatchProgress, state: str = "in_progress", **more: Any) -> BatchCounts:
    return kind(state=state, at=1, total=200, **NUMBERS, **more)


def test_a_reason_is_told_at_once_and_taken_back_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    shown = PlainProgress()
    shown.update(event())
    shown.update(event())
    shown.update(event(waiting="rate_limited: openai says wait 1 s"))
    shown.update(event(waiting="rate_limited: openai says wait 1 s; next call in 3 s"))
    shown.update(event())
    shown.update(event(BatchStateChange, "paused", reason="auth: no", waiting="rate_limited: x"))
    said = [line.partition("items, ")[0] + line.partition("tokens")[2] for line in capsys.readouterr().err.splitlines()]
    assert said == [
        "in_progress: 0/200 ",
        "in_progress: 0/200  (rate_limited: openai says wait 1 s)",
        "in_progress: 0/200 ",
        "paused: 0/200  (auth: no)",
    ]
