"""A full disk: the batch keeps its state, says why it waits, and goes on by itself. Nothing is paid again."""

from __future__ import annotations

import json
from pathlib import Path

from headrace_rehearsal import account
from hooked import hooked
from stack import Stack, started, until


def test_a_batch_waits_for_room_and_goes_on(tmp_path: Path) -> None:
    flag = tmp_path / "full"
    flag.touch()
    environment = {**hooked("full_disk"), "FULL_DISK": str(flag)}
    with started(tmp_path, "--no-flower", environment=environment) as stack:
        batch_id = stack.extract([{"id": str(n), "text": f"Item {n} is blue."} for n in range(40)])
        until(lambda: stack.batch(batch_id)["state"] == "paused", what="the batch is paused")
        shown = json.loads(stack.run("batches", "show", batch_id).stdout)
        assert shown["state"] == "paused"
        assert "no room" in shown["reason"]
        assert "by itself" in shown["reason"]
        # A shard that had not begun when the batch was paused waits with it; what had been paid for by then is there.
        until(lambda: 0 < finished(stack) == int(stack.batch(batch_id)["succeeded"]), what="what was paid is kept")
        flag.unlink()
        until(lambda: stack.batch(batch_id)["state"] == "completed", what="the batch ends")
        assert [line["custom_id"] for line in stack.lines(batch_id, "output")] == [str(n) for n in range(40)]
        assert stack.lines(batch_id, "errors") == []
        assert account.paid_twice(stack.calls()) == 0


def finished(stack: Stack) -> int:
    return sum(call.finished_at is not None for call in stack.calls())


def test_too_little_free_disk_pauses_before_anything_is_paid(tmp_path: Path) -> None:
    environment = {"HEADRACE_MIN_FREE_MB": str(10**9)}
    with started(tmp_path, "--no-flower", environment=environment) as stack:
        batch_id = stack.extract([{"id": "a", "text": "Blue."}])
        until(lambda: stack.batch(batch_id)["state"] == "paused", what="the batch is paused")
        assert "MiB free" in stack.batch(batch_id)["reason"]
        assert stack.calls() == []
        assert stack.run("batches", "cancel", batch_id).stdout.strip() == "cancelling"
        until(lambda: stack.batch(batch_id)["state"] == "cancelled", what="a paused batch can be cancelled")
        assert [line["error"]["code"] for line in stack.lines(batch_id, "errors")] == ["batch_cancelled"]
