"""The Batch object: every field is there in every state, under OpenAI's names."""

from __future__ import annotations

import openai.types
import pytest
from headrace_api.batch_object import batch_object
from openai_types import check

from headrace.batches.request_lines import LineError
from headrace.ledger.batch_record import BatchRecord
from headrace.ledger.state import BATCH_TERMINAL, BatchState

FIELDS = {
    "endpoint": "/v1/chat/completions",
    "input_file": "file-a",
    "created": "1000000",
    "expires": "87400000",
    "total": "9",
    "succeeded": "4",
    "failed": "1",
    "cancelled": "1",
    "dead": "1",
    "input_tokens": "5",
    "output_tokens": "7",
    "reasoning_tokens": "2",
}


def record(state: str, **more: str) -> BatchRecord:
    times = {"in_progress_at": "2000000", "finalizing_at": "3000000", "ended": "4000000", "outcome": "completed"}
    fields = FIELDS | times | {"state": state} | more
    return BatchRecord("batch_x", {name: value.encode() for name, value in fields.items()})


@pytest.mark.parametrize("state", list(BatchState))
def test_is_one_of_the_official_type_in_every_state(state: BatchState) -> None:
    body = batch_object(record(state))
    check(openai.types.Batch, body)
    assert set(openai.types.Batch.model_fields) == set(body), "clients fail on those that are missing"
    ends = [name for name in ("completed_at", "failed_at", "expired_at", "cancelled_at") if body[name] is not None]
    assert ends == ([f"{state}_at"] if state in BATCH_TERMINAL else [])
    assert body["request_counts"] == {"total": 9, "completed": 4, "failed": 3}
    assert body["usage"]["output_tokens_details"] == {"reasoning_tokens": 2}


@pytest.mark.parametrize(
    ("state", "outcome", "shown"),
    [
        ("paused", "", "in_progress"),
        ("cancelling", "cancelled", "cancelling"),
        ("finalizing", "cancelled", "cancelling"),
        ("cancelling", "expired", "in_progress"),
        ("finalizing", "expired", "finalizing"),
        ("finalizing", "completed", "finalizing"),
    ],
)
def test_a_state_that_openai_has_not_is_shown_as_the_nearest(state: str, outcome: str, shown: str) -> None:
    assert batch_object(record(state, outcome=outcome))["status"] == shown


def test_what_is_wrong_with_the_input_is_listed() -> None:
    errors = [LineError("invalid_json_line", "no", 3, "body"), LineError("more_errors", "and more")]
    body = batch_object(record("failed"), errors)
    check(openai.types.Batch, body)
    assert body["errors"]["data"][0] == {"code": "invalid_json_line", "line": 3, "message": "no", "param": "body"}
    damaged = batch_object(record("failed", reason="its record was damaged"))
    assert damaged["errors"]["data"][0]["message"] == "its record was damaged"


def test_a_retry_had_nothing_to_be_checked() -> None:
    body = batch_object(
        BatchRecord("batch_x", {n: v for n, v in record("in_progress").fields.items() if n != "in_progress_at"})
    )
    assert body["in_progress_at"] == body["created_at"]
