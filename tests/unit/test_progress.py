"""Progress on standard error says why a batch stands still."""

from __future__ import annotations

from typing import Any

import pytest
import rich.console

from headrace.client import batch_progress
from headrace.client.batch_progress import PlainProgress, ProgressBar, progress_display
from headrace.events.types import BatchCounts, BatchProgress, BatchStateChange

NUMBERS = dict.fromkeys(("succeeded", "failed", "cancelled", "dead", "input_tokens", "output_tokens"), 0)


def event(kind: type[BatchCounts] = BatchProgress, state: str = "in_progress", **more: Any) -> BatchCounts:
    return kind(state=state, at=1, total=200, **NUMBERS, **more)


def test_a_reason_is_told_at_once_and_taken_back_at_once() -> None:
    told: list[str] = []
    shown = PlainProgress(told.append)
    shown.update(event())
    shown.update(event())
    shown.update(event(waiting="rate_limited: openai says wait 1 s"))
    shown.update(event(waiting="rate_limited: openai says wait 1 s; next call in 3 s"))
    shown.update(event())
    shown.update(event(BatchStateChange, "paused", reason="auth: no", waiting="rate_limited: x"))
    said = [line.partition("items, ")[0] + line.partition("tokens")[2] for line in told]
    assert said == [
        "in_progress: 0/200 ",
        "in_progress: 0/200  (rate_limited: openai says wait 1 s)",
        "in_progress: 0/200 ",
        "paused: 0/200  (auth: no)",
    ]


def test_money_repeated_calls_and_known_answers_are_told_where_there_are_some() -> None:
    told: list[str] = []
    PlainProgress(told.append).update(event(cost_nano_usd=1_500_000, retried=2, cached=3))
    PlainProgress(told.append).update(event())
    assert told == [
        "in_progress: 0/200 items, 0 items/s, 0+0 tokens, 0.0015 USD, 2 calls repeated, 3 from the cache",
        "in_progress: 0/200 items, 0 items/s, 0+0 tokens",
    ]


@pytest.mark.parametrize(("has_widgets", "shown"), [(True, ProgressBar), (False, PlainProgress)])
def test_a_notebook_has_a_bar_where_widgets_are_installed(
    has_widgets: bool, shown: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rich.console, "_is_jupyter", lambda: True)
    monkeypatch.setattr(batch_progress, "find_spec", lambda name: (has_widgets and name == "ipywidgets") or None)
    monkeypatch.setattr(ProgressBar, "__init__", lambda *_: None)  # it draws at once
    assert isinstance(progress_display(), shown)


def test_without_a_terminal_there_are_lines(capsys: pytest.CaptureFixture[str]) -> None:
    display = progress_display()
    assert isinstance(display, PlainProgress)
    display.update(event(waiting="a \x1b[2J"))
    assert capsys.readouterr().err == "in_progress: 0/200 items, 0 items/s, 0+0 tokens (a \\x1b[2J)\n"
