"""`/v1/native/batches`: the SDK's own form of a batch."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from headrace.batches.inputs.column_choice import KeptColumns
from headrace.ledger.summaries import Batch


class NativeBatch(msgspec.Struct, frozen=True, kw_only=True):
    """A batch, the id of the one that has its rows, and what its answers are to be."""

    batch: Batch
    latest: str
    schema: dict[str, Any] | None
    structured: bool
    reasks: int
    kept: KeptColumns | None
    state_if_refused: str | None


class NativeBatchList(msgspec.Struct, frozen=True, kw_only=True):
    """The newest batches."""

    object: Literal["list"]
    data: list[Batch]


class NativeBatchQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The number of batches to list."""

    limit: Annotated[int, Meta(ge=1, le=10_000)] = 50


class NativeBatchHead(msgspec.Struct, frozen=True, kw_only=True):
    """The first line of a new batch; each line after it is an item."""

    template: dict[str, Any]
    window_s: float | None = None


class LinesPage(msgspec.Struct, frozen=True, kw_only=True):
    """Output lines in input order; `{"end": true}` is the last line of all."""

    first: int
    lines: list[dict[str, Any]]
    refused: list[tuple[int, str]]


class RetryRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The codes of the failures to run again; null for all."""

    codes: list[str] | None = None


class RefusalRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Lines that the caller's type refuses, by their numbers from 0, each with its reason."""

    rows: Annotated[list[tuple[int, str]], Meta(max_length=1000)]


class BudgetRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The most that a batch may cost in US dollars; null: anything."""

    budget: str | float | None
    allow_unpriced: Annotated[bool, Meta(description="Whether calls without a known price may pass.")] | None = None


class BatchReceipt(msgspec.Struct, frozen=True, kw_only=True):
    """The id of a batch that was opened or changed."""

    id: str


class ReaskReceipt(msgspec.Struct, frozen=True, kw_only=True):
    """The batch that asks again, if there is one to open, and for how many lines."""

    id: str | None
    count: int
