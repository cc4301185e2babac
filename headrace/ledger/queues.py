"""The queues that records wait in."""

from __future__ import annotations

INTERACTIVE = "interactive"

BULK = "bulk"

QUARANTINE = "quarantine"

QUEUES = (INTERACTIVE, BULK, QUARANTINE)
