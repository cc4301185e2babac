"""Batches from Python against the whole service: rows in input order, failures in their places, retries, waits."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from pydantic import BaseModel
from stack import Stack

from headrace import Headrace
from headrace.errors import (
    WaitTimeout,
)

BOTH_WAYS = True
MODEL = "rehearsal/small"


class Review(BaseModel):
    summary: str
    stars: int


def test_rows_come_in_input_order_as_the_type_asked_for(client: Headrace, tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text("".join(json.dumps({"id": f"r{n}", "text": f"Review {n}"}) + "\n" for n in range(300)))
    batch = client.extract(source, "Rate: {text}", schema=Review, model=MODEL)
    rows = list(batch.results())
    assert [row.custom_id for row in rows] == [f"r{n}" for n in range(300)]
    assert all(isinstance(row.value, Review) for row in rows)
    assert batch.wait(60).succeeded == 300
    again = [(row.custom_id, row.value) for row in client.batch(batch.id, schema=Review).results()]
    assert again == [(row.custom_id, row.value) for row in rows]


def test_the_first_rows_are_there_before_the_batch_has_ended(client: Headrace) -> None:
    slow = ["quick one", *(f"[[rehearsal latency=4000]] slow {n}" for n in range(20))]
    batch = client.extract(slow, model=MODEL)
    first = next(iter(batch.results()))
    assert first.custom_id == "line-1"
    assert first.value
    assert not batch.progress().ended
    batch.cancel()


def test_a_retry_that_is_cancelled_keeps_what_was_paid(client: Headrace, stack: Stack) -> None:
    """Also the rows that none of its shards had taken over yet."""
    prompts = [f"Say {n}." for n in range(2000)] + ["[[rehearsal fault=400]] x"] * 3
    batch = client.extract(prompts, model=MODEL)
    assert batch.wait(60).succeeded == 2000
    paid = len(stack.calls())
    again = batch.retry()
    again.cancel()
    known = again.wait(30)
    assert (known.state, known.succeeded) == ("cancelled", 2000)
    assert known.succeeded + known.failed + known.cancelled == 2003
    rows = list(again.results())
    assert [row.custom_id for row in rows if row.ok] == [row.custom_id for row in batch.results() if row.ok]
    assert len(stack.calls()) - paid <= 3


def test_results_are_saved_as_csv_with_what_failed_beside(client: Headrace, tmp_path: Path) -> None:
    batch = client.extract(["fine", "[[rehearsal fault=miss times=9]] x"], schema=Review, model=MODEL)
    batch.wait(60)
    errors = batch.save(tmp_path / "rows.csv")
    assert (tmp_path / "rows.csv").read_text().splitlines()[0] in {"custom_id,summary,stars", "custom_id,stars,summary"}
    assert errors == tmp_path / "rows.errors.csv"
    assert "invalid_output" in errors.read_text()


def test_limit_and_sample_choose_items(client: Headrace) -> None:
    items = [{"id": n, "text": "x"} for n in range(100)]
    assert [row.custom_id for row in client.extract(items, model=MODEL, limit=3).results()] == ["0", "1", "2"]
    sampled = [int(row.custom_id) for row in client.extract(items, model=MODEL, sample=5).results()]
    assert len(sampled) == 5
    assert sampled == sorted(sampled)


def test_a_wait_for_a_batch_ends_in_time(client: Headrace) -> None:
    batch = client.extract(["[[rehearsal latency=9000]] x"], model=MODEL)
    began = time.monotonic()
    with pytest.raises(WaitTimeout, match="goes on"):
        batch.wait(0.2)
    assert time.monotonic() - began < 8, "not the nine seconds of the call"
    batch.cancel()
    assert batch.wait(30).state == "cancelled"
    assert [row.error.code for row in batch.results() if row.error] == ["batch_cancelled"]
