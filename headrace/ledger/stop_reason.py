"""The reasons why an attempt has to stop: the only list. All but `EXPIRED` are answers of a beat (`beat.lua`), and
words in logs."""

from __future__ import annotations

from enum import StrEnum


class StopReason(StrEnum):
    """The reason why an attempt at a job or a shard has to stop."""

    CANCELLED = "CANCELLED"
    """The job was cancelled, or its batch: stop and hand back."""
    PAUSED = "PAUSED"
    """The batch is paused: begin nothing, let the calls in flight end, hand back."""
    BUDGETED = "BUDGETED"
    """A budget was set that the attempt does not keep: begin nothing, let the calls in flight end, hand back to one that does."""
    REQUEUED = "REQUEUED"
    """The lease expired, and nobody has claimed the record since: begin nothing, what is in flight may end."""
    FENCED = "FENCED"
    """Another attempt has the record: nothing can be written."""
    CLOSED = "CLOSED"
    """The record has ended, or its batch is sealed: nothing can be written."""
    UNKNOWN = "UNKNOWN"
    """The ledger has no such record, or has lost this attempt at it."""
    DAMAGED = "DAMAGED"
    """The record cannot be worked with."""
    EXPIRED = "EXPIRED"
    """The job's own deadline has passed; its worker says so."""


NOT_OURS = frozenset({StopReason.REQUEUED, StopReason.FENCED, StopReason.UNKNOWN, StopReason.CLOSED})
"""After these no call begins for the record, whatever becomes of what is in flight."""
NOT_WRITABLE = frozenset({StopReason.FENCED, StopReason.CLOSED, StopReason.UNKNOWN, StopReason.DAMAGED})
"""After these nothing can be written under the attempt's epoch."""
CALLS_MAY_END = frozenset({StopReason.PAUSED, StopReason.BUDGETED, StopReason.REQUEUED})
"""After these the calls in flight may end; any other closes their connections."""
