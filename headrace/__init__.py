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
    from headrace.blocking import BatchHandle, Headrace, JobHandle
    from headrace.client import AsyncHeadrace
    from headrace.errors import Failure
    from headrace.handles import AsyncBatchHandle, AsyncJobHandle
    from headrace.job import Completion, Usage
    from headrace.results import Row
    from headrace.summaries import Batch, JobSummary

_HOMES = {
    "AsyncBatchHandle": "handles",
    "AsyncHeadrace": "client",
    "AsyncJobHandle": "handles",
    "Batch": "summaries",
    "BatchHandle": "blocking",
    "Completion": "job",
    "Failure": "job",
    "Headrace": "blocking",
    "JobHandle": "blocking",
    "JobSummary": "summaries",
    "Row": "results",
    "Usage": "job",
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
