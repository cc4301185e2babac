"""The Batch object of OpenAI's API, of a batch's record. Every field is there: clients fail on those that are missing."""

from __future__ import annotations

from typing import Any

from headrace.batches.request_lines import LineError
from headrace.ledger.batch_record import BatchRecord, TimeName
from headrace.ledger.state import BATCH_TERMINAL, BatchState
from headrace_api.error_quoting import shorten_quotes

ENDS = {
    BatchState.COMPLETED: "completed_at",
    BatchState.FAILED: "failed_at",
    BatchState.EXPIRED: "expired_at",
    BatchState.CANCELLED: "cancelled_at",
}


def batch_object(record: BatchRecord, rejection: list[LineError] | None = None) -> dict[str, Any]:
    """Return the object. `rejection` is what is wrong with the input of a batch that failed."""
    state, failed = record.state, sum(record.counter(name) for name in ("failed", "cancelled", "dead"))
    began = record.time_ms("in_progress_at")
    if began is None and state not in (BatchState.VALIDATING, BatchState.FAILED) and record.total:
        began = record.created_ms  # of a retry: nothing had to be checked
    ends = dict.fromkeys(ENDS.values())
    if state in BATCH_TERMINAL:
        ends[ENDS[BatchState(state)]] = seconds(record, "ended")
    return {
        "id": record.id,
        "object": "batch",
        "endpoint": record.endpoint,
        "model": record.model or None,
        "errors": errors_of(record, rejection),
        "input_file_id": record.input_file,
        "completion_window": record.window,
        "status": status_of(record),
        "output_file_id": record.output_file or None,
        "error_file_id": record.error_file or None,
        "created_at": record.created_ms // 1000,
        "in_progress_at": None if began is None else began // 1000,
        "expires_at": seconds(record, "expires"),
        "finalizing_at": seconds(record, "finalizing_at"),
        **ends,
        "cancelling_at": seconds(record, "cancelling_at"),
        "request_counts": {"total": record.total, "completed": record.counter("succeeded"), "failed": failed},
        "usage": usage_of_batch(record),
        "metadata": record.metadata,
    }


def seconds(record: BatchRecord, name: TimeName) -> int | None:
    time_ms = record.time_ms(name)
    return None if time_ms is None else time_ms // 1000


def status_of(record: BatchRecord) -> str:
    """Return the state under one of OpenAI's names: who pauses here, and what expires before its join, has none there."""
    state = record.state
    if state == BatchState.PAUSED:
        return BatchState.IN_PROGRESS.value
    if state in (BatchState.CANCELLING, BatchState.FINALIZING):
        stopped = record.outcome
        if stopped == BatchState.CANCELLED:
            return BatchState.CANCELLING.value
        if state == BatchState.CANCELLING:  # its window is over
            return BatchState.IN_PROGRESS.value
    return state


def errors_of(record: BatchRecord, rejection: list[LineError] | None) -> dict[str, Any] | None:
    if record.state != BatchState.FAILED:
        return None
    errors = rejection or [LineError("batch_failed", record.reason or "the batch has failed")]
    data = [
        {"code": error.code, "line": error.line, "message": shorten_quotes(error.message), "param": error.param}
        for error in errors
    ]
    return {"object": "list", "data": data}


def usage_of_batch(record: BatchRecord) -> dict[str, Any]:
    """Return the tokens that the batch has cost so far."""
    read, written = record.counter("input_tokens"), record.counter("output_tokens")
    return {
        "input_tokens": read,
        "input_tokens_details": {"cached_tokens": record.counter("cached_tokens")},
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": record.counter("reasoning_tokens")},
        "total_tokens": read + written,
    }
