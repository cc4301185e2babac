"""A batch is a file in and a file out, in input order, with every item in its place; a retry pays only for what failed.

Items run at the same time and end in any order. A *shard*, a run of consecutive items, is what travels and is claimed; the join
of the shards puts their rows in order. An item that failed is a row that says why, not a hole.
"""

from __future__ import annotations

import pytest
from stack import Stack

from headrace import Headrace, InputError, JobFailed

MODEL = "rehearsal/small"
SCHEMA = {"type": "object", "properties": {"stars": {"type": "integer"}}, "required": ["stars"]}


def test_rows_come_in_input_order_with_failures_in_their_places(client: Headrace) -> None:
    texts = [f"Review {n}. [[rehearsal jitter=200{' fault=miss' if n % 10 == 0 else ''}]]" for n in range(60)]
    batch = client.extract([{"id": n, "text": text} for n, text in enumerate(texts)], model=MODEL, schema=SCHEMA)
    rows = list(batch.results())
    assert [row.custom_id for row in rows] == [str(n) for n in range(60)]
    assert [row.ok for row in rows] == [n % 10 != 0 for n in range(60)]
    with pytest.raises(JobFailed, match="invalid_output"):
        _ = rows[0].value

    ended = batch.wait(60)
    assert (ended.state, ended.succeeded, ended.failed) == ("completed", 54, 6)
    assert [row.custom_id for row in batch.results()] == [row.custom_id for row in rows], "the files say the same"


def test_a_retry_keeps_what_succeeded_and_pays_the_rest(client: Headrace, stack: Stack) -> None:
    items = [{"id": n, "text": "[[rehearsal fault=miss]] x" if n < 2 else "fine"} for n in range(10)]
    batch = client.extract(items, model=MODEL, schema=SCHEMA)
    assert batch.wait(60).failed == 2
    again = batch.retry()
    assert [row.ok for row in again.results()] == [False] * 2 + [True] * 8
    assert len(stack.calls_of(again.id)) == 2
    assert again.progress().retry_of == batch.id
    with pytest.raises(InputError, match="retried after it has ended"):
        client.extract(["[[rehearsal latency=9000]] x"], model=MODEL).retry()
