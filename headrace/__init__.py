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
    from headrace.batches.outputs.results import Row
    from headrace.chat.completion import Completion, Usage
    from headrace.chat.tool_calls import ToolCall
    from headrace.chat.tools import ToolDefinitions
    from headrace.client.async_client import AsyncHeadrace
    from headrace.client.handles import AsyncBatchHandle, AsyncJobHandle
    from headrace.client.stream import AsyncJobStream
    from headrace.client.sync_client import BatchHandle, Headrace, JobHandle, JobStream
    from headrace.errors import (
        CallError,
        Conflict,
        Expired,
        Failure,
        Finished,
        Gone,
        HeadraceError,
        InputError,
        InvalidOutput,
        JobFailed,
        Restarted,
        SchemaError,
        SettingsError,
        StorageError,
        Unknown,
        Unreachable,
        WaitTimeout,
    )
    from headrace.ledger.summaries import Batch, JobSummary

    __version__: str

_HOMES = {
    "AsyncBatchHandle": "client.handles",
    "AsyncHeadrace": "client.async_client",
    "AsyncJobHandle": "client.handles",
    "AsyncJobStream": "client.stream",
    "Batch": "ledger.summaries",
    "BatchHandle": "client.sync_client",
    "CallError": "errors",
    "Completion": "chat.completion",
    "Conflict": "errors",
    "Expired": "errors",
    "Failure": "errors",
    "Finished": "errors",
    "Gone": "errors",
    "Headrace": "client.sync_client",
    "HeadraceError": "errors",
    "InputError": "errors",
    "InvalidOutput": "errors",
    "JobFailed": "errors",
    "JobHandle": "client.sync_client",
    "JobStream": "client.sync_client",
    "JobSummary": "ledger.summaries",
    "Restarted": "errors",
    "Row": "batches.outputs.results",
    "SchemaError": "errors",
    "SettingsError": "errors",
    "StorageError": "errors",
    "ToolCall": "chat.tool_calls",
    "ToolDefinitions": "chat.tools",
    "Unknown": "errors",
    "Unreachable": "errors",
    "Usage": "chat.completion",
    "WaitTimeout": "errors",
}

__all__ = [
    "AsyncBatchHandle",
    "AsyncHeadrace",
    "AsyncJobHandle",
    "AsyncJobStream",
    "Batch",
    "BatchHandle",
    "CallError",
    "Completion",
    "Conflict",
    "Expired",
    "Failure",
    "Finished",
    "Gone",
    "Headrace",
    "HeadraceError",
    "InputError",
    "InvalidOutput",
    "JobFailed",
    "JobHandle",
    "JobStream",
    "JobSummary",
    "Restarted",
    "Row",
    "SchemaError",
    "SettingsError",
    "StorageError",
    "ToolCall",
    "ToolDefinitions",
    "Unknown",
    "Unreachable",
    "Usage",
    "WaitTimeout",
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("headrace")
    elif name in _HOMES:
        value = getattr(import_module(f"headrace.{_HOMES[name]}"), name)
    else:
        raise AttributeError(f"module 'headrace' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
