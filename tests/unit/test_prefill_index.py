"""The index of what a retry keeps: every input line is kept at its place or run again, whatever failed with which code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.batches.prefill import FAILURES, INDEX, SUCCESSES, KeptLine, checked_codes, choose, index_prefill, kept
from headrace.errors import InputError
from headrace.storage.local import LocalFileStore

CODES = ["invalid_output", "timeout", "worker_lost", "batch_cancelled"]
KIND = {"invalid_output": "f", "timeout": "f", "worker_lost": "d", "batch_cancelled": "c"}
outcomes = st.lists(st.sampled_from(["", *CODES]), max_size=40)


def written(store: LocalFileStore, name: str, outcomes: list[str]) -> None:
    """An ended batch: of each item its code, empty for a success."""
    line = {
        n: json.dumps({"custom_id": str(n), "response": None, "error": {"code": code}})
        for n, code in enumerate(outcomes)
    }
    store.commit(f"{name}/input.jsonl", [b'{"custom_id":"%d"}\n' % n for n in line])
    store.commit(f"{name}/{SUCCESSES}", [f"{line[n]}\n".encode() for n, code in enumerate(outcomes) if not code])
    store.commit(f"{name}/{FAILURES}", [f"{line[n]}\n".encode() for n, code in enumerate(outcomes) if code])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(outcomes, st.one_of(st.none(), st.sets(st.sampled_from(CODES), min_size=1)))
def test_each_line_is_kept_at_its_place_or_run_again(
    tmp_path: Path, outcomes: list[str], chosen: set[str] | None
) -> None:
    store = LocalFileStore(tmp_path)
    store.remove("batch_x")
    written(store, "batch_x", outcomes)
    index_prefill(store, "batch_x", frozenset(chosen) if chosen is not None else None)
    found = dict(kept(store.read(f"batch_x/{INDEX}", 0, 16 * len(outcomes)))) if outcomes else {}
    stays = {n for n, code in enumerate(outcomes) if not code or (chosen is not None and code not in chosen)}
    assert set(found) == stays
    for n, line in found.items():
        assert line.kind == (KIND[outcomes[n]] if outcomes[n] else "s")
        assert json.loads(store.read(f"batch_x/{line.file}", line.offset, line.length))["custom_id"] == str(n)


def test_an_entry_is_read_as_it_was_packed() -> None:
    lines = [KeptLine(kind, offset, length) for kind in "sfcd" for offset in (0, 2**40) for length in (1, 2**40)]
    index = b"".join(line.pack() + bytes(16) for line in lines)
    assert list(kept(index)) == [(2 * n, line) for n, line in enumerate(lines)]


def test_a_choice_that_runs_nothing_is_refused(tmp_path: Path) -> None:
    store = LocalFileStore(tmp_path)
    written(store, "batch_x", ["", "timeout", "timeout", "worker_lost"])
    errors = f"batch_x/{FAILURES}"
    choose(store.lines(errors), frozenset({"timeout", "auth"}), "batch_x")
    with pytest.raises(InputError, match="failed with auth; it has 2 timeout, 1 worker_lost"):
        choose(store.lines(errors), frozenset({"auth"}), "batch_x")


@pytest.mark.parametrize("codes", [["nope"], [], "timeout", ["timeout", "nope"]])
def test_a_code_that_is_none_is_refused(codes: list[str]) -> None:
    with pytest.raises(InputError, match="code"):
        checked_codes(codes)
