"""`fold` of headrace.js against `headrace.events.fold`: the same for any log, also one whose beginning is a snapshot."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transcript import logs, typed

from headrace.events.fold import Fold, fold

CLIENT = Path(__file__).parents[2] / "api/headrace_api/page/headrace.js"
LISTS = ("annotations", "images", "citations")
PROGRAM = Path(__file__).parent / "js/fold.mjs"


def folded_by_node(many: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    done = subprocess.run(
        ["node", str(PROGRAM), CLIENT.as_uri()], input=msgspec.json.encode(many), capture_output=True, timeout=60
    )
    assert done.returncode == 0, done.stderr.decode()
    return msgspec.json.decode(done.stdout)


def shown(state: Fold) -> dict[str, Any]:
    """What a page shows of a fold, in the words of headrace.js."""
    message = state.message
    tools = state.choice(0).tools
    return {
        "content": message["content"] or "",
        "reasoning": message.get("reasoning", ""),
        "refusal": message.get("refusal", ""),
        "tools": {i: (tools[i].id, tools[i].name, "".join(tools[i].pieces)) for i in sorted(tools)},
        **{name: message.get(name, []) for name in LISTS},
        "usage": state.usage,
        "attempt": state.attempt.n if state.attempt else 0,
        "model": state.route.model if state.route else None,
        "ended": state.end is not None,
    }


def shown_by_js(state: dict[str, Any]) -> dict[str, Any]:
    calls = enumerate(state["toolCalls"])
    return {
        **{name: state[name] for name in ("content", "reasoning", "refusal", "usage", "attempt", *LISTS)},
        "tools": {i: (call["id"], call["name"], call["arguments"]) for i, call in calls if call is not None},
        "model": (state["route"] or {}).get("model"),
        "ended": state["end"] is not None,
    }


@pytest.mark.skipif(shutil.which("node") is None, reason="no node here")
@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(logs, st.integers(1, 20)), min_size=40, max_size=40))
def test_the_client_for_javascript_folds_alike(cases: list[tuple[list[dict[str, Any]], int]]) -> None:
    many, wanted = [], []
    for log, cut in cases:
        cut = min(cut, len(log) - (log[-1]["t"] == "end"))  # a log that has ended is not compacted
        snapshot = msgspec.to_builtins(fold(map(typed, log[:cut])).snapshot(cut))
        many += [log, [snapshot, *log[cut:]]]
        wanted += [shown(fold(map(typed, log)))] * 2
    for events, got, want in zip(many, folded_by_node(many), wanted, strict=True):
        assert shown_by_js(got) == want, events
