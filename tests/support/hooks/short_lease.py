"""A hook for workers: leases of two seconds, so that a killed worker's jobs begin anew soon."""

from __future__ import annotations

from typing import Any

import headrace_worker.maintenance.lease_rescuer

from headrace.ledger import beat, checkpoint, claim, restore


def shorten(lease_ms: int) -> None:
    for move in (claim.claim, beat.beat, checkpoint.checkpoint, restore.restore):
        assert move.__kwdefaults__ is not None
        move.__kwdefaults__["lease_ms"] = lease_ms
    headrace_worker.maintenance.lease_rescuer.LEASE_MS = lease_ms


def install(_: Any) -> None:
    shorten(2_000)
