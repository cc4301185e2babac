"""The state machine, as data: the only list of states. Wire names, `end.status`, exit codes and the drawing in
`docs/architecture.md` derive from it, and the Lua of every move is tested against it."""

from __future__ import annotations

from enum import StrEnum


class JobState(StrEnum):
    """The state of a job, an item, or (without `failed`) a shard."""

    QUEUED = "queued"
    RUNNING = "running"
    PARKED = "parked"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    DEAD = "dead"


class BatchState(StrEnum):
    VALIDATING = "validating"
    IN_PROGRESS = "in_progress"
    PAUSED = "paused"
    FINALIZING = "finalizing"
    COMPLETED = "completed"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"


TERMINAL = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.DEAD})
BATCH_TERMINAL = frozenset({BatchState.COMPLETED, BatchState.FAILED, BatchState.EXPIRED, BatchState.CANCELLED})

_Q, _R, _P = JobState.QUEUED, JobState.RUNNING, JobState.PARKED
_ENDS = frozenset(TERMINAL)

JOB_MOVES: dict[JobState, dict[str, frozenset[JobState]]] = {
    # A worker that was cut off past its lease finds its job queued again; until another begins, it may still finish.
    _Q: {
        # Of one whose last attempt was shown in part, a claim is the end.
        "claim": frozenset({_R, JobState.FAILED, JobState.CANCELLED}),
        "show": frozenset({_Q}),
        "shorten": frozenset({_Q}),
        "cancel": frozenset({JobState.CANCELLED}),
        "finish": _ENDS,
        "park": frozenset({_P}),
        "release": frozenset({_Q}),
        "due": frozenset({_Q}),
        "restart": frozenset({_Q}),
        "append": frozenset({_Q}),
        "compact": frozenset({_Q}),
        "expire": frozenset({JobState.FAILED}),
    },
    _R: {
        "beat": frozenset({_R}),
        "show": frozenset({_R}),
        "shorten": frozenset({_R}),
        "append": frozenset({_R}),
        "compact": frozenset({_R}),
        "restart": frozenset({_R}),
        "cancel": frozenset({_R}),
        "park": frozenset({_P}),
        "release": frozenset({_Q}),
        "recover": frozenset({_Q, JobState.DEAD, JobState.CANCELLED}),
        "finish": _ENDS,
    },
    _P: {
        "show": frozenset({_P}),
        "shorten": frozenset({_P}),
        "due": frozenset({_Q}),
        "park": frozenset({_P}),
        "release": frozenset({_Q}),
        "append": frozenset({_P}),
        "compact": frozenset({_P}),
        "restart": frozenset({_P}),
        "expire": frozenset({JobState.FAILED}),
        "cancel": frozenset({JobState.CANCELLED}),
        "finish": _ENDS,
    },
}

BATCH_MOVES: dict[BatchState, dict[str, frozenset[BatchState]]] = {
    # Of a batch over an uploaded file; any other is `in_progress` from `open` on.
    BatchState.VALIDATING: {
        "begin_batch": frozenset({BatchState.IN_PROGRESS}),
        "reject_batch": frozenset({BatchState.FAILED}),
        "cancel": frozenset({BatchState.CANCELLED}),
    },
    BatchState.IN_PROGRESS: {
        "feed": frozenset({BatchState.IN_PROGRESS}),
        "prefill": frozenset({BatchState.IN_PROGRESS}),
        "checkpoint": frozenset({BatchState.IN_PROGRESS, BatchState.PAUSED}),
        "finish_shard": frozenset({BatchState.IN_PROGRESS}),
        "refuse_rows": frozenset({BatchState.IN_PROGRESS}),
        "pause": frozenset({BatchState.PAUSED}),
        "cancel": frozenset({BatchState.CANCELLING}),
        "seal": frozenset({BatchState.FINALIZING, BatchState.CANCELLING}),
    },
    BatchState.PAUSED: {
        "prefill": frozenset({BatchState.PAUSED}),
        "checkpoint": frozenset({BatchState.PAUSED}),
        "finish_shard": frozenset({BatchState.PAUSED}),
        "refuse_rows": frozenset({BatchState.PAUSED}),
        "resume": frozenset({BatchState.IN_PROGRESS}),
        "cancel": frozenset({BatchState.CANCELLING}),
        "seal": frozenset({BatchState.FINALIZING}),
    },
    BatchState.CANCELLING: {
        "prefill": frozenset({BatchState.CANCELLING}),
        "checkpoint": frozenset({BatchState.CANCELLING}),
        "finish_shard": frozenset({BatchState.CANCELLING}),
        "refuse_rows": frozenset({BatchState.CANCELLING}),
        "seal": frozenset({BatchState.FINALIZING}),
    },
    BatchState.FINALIZING: {
        "refuse_rows": frozenset({BatchState.FINALIZING}),  # and after the end, which it does not change
        "close": frozenset({BatchState.COMPLETED, BatchState.CANCELLED, BatchState.EXPIRED}),
    },
}
