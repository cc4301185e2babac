"""headrace: a job-queue service for LLM chat completions. Nothing accepted is lost, nothing is finished twice.

    from headrace import Headrace

    with Headrace() as headrace:
        answer = headrace.submit("openai/gpt-5-mini", "Why is the sky blue?").result()

The names here are imported when they are first used: `headrace --help` needs none of them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headrace.batches.results import Row
    from headrace.chat.completion import Completion, Usage
    from headrace.client.async_client import AsyncHeadrace
    from headrace.client.handles import AsyncBatchHandle, AsyncJobHandle
    from headrace.client.sync_client import BatchHandle, Headrace, JobHandle
    from headrace.errors import Failure
    from headrace.ledger.records import Batch, JobSummary

_HOMES = {
    "AsyncBatchHandle": "client.handles",
    "AsyncHeadrace": "client.async_client",
    "AsyncJobHandle": "client.handles",
    "Batch": "ledger.records",
    "BatchHandle": "client.sync_client",
    "Completion": "chat.completion",
    "Failure": "errors",
    "Headrace": "client.sync_client",
    "JobHandle": "client.sync_client",
    "JobSummary": "ledger.records",
    "Row": "batches.results",
    "Usage": "chat.completion",
}

__all__ = [
    "AsyncBatchHandle",
    "AsyncHeadrace",
    "AsyncJobHandle",
    "Batch",
    "BatchHandle",
    "Completion",
    "Failure",
    "Headrace",
    "JobHandle",
    "JobSummary",
    "Row",
    "Usage",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'headrace' has no attribute {name!r}")
    value = getattr(import_module(f"headrace.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
