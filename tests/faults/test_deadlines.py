"""A deadline ends what would go on for ever: a job that runs, one that is parked, one that nobody takes, and a batch."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from stack import started, until

from headrace.client.sync_client import Headrace
from headrace.errors import JobFailed
from headrace.settings import Settings

LIMITED = "[[rehearsal fault=429 retry_after=1]]"


def test_a_job_ends_when_its_time_is_over(tmp_path: Path) -> None:
    with (
        started(tmp_path, "--no-flower", "--no-gateway") as stack,
        Headrace(settings=Settings.load(stack.client_environment)) as client,
    ):
        began = time.monotonic()
        running = client.submit("rehearsal/small", "[[rehearsal latency=60000]] Slow.", timeout_s=2)
        parked = client.submit("vllm/small", LIMITED, timeout_s=3)
        streamed = client.submit("rehearsal/small", "[[rehearsal tps=2]] Slow.", stream=True, timeout_s=2)
        for job, least_s in ((running, 2), (parked, 3), (streamed, 2)):
            with pytest.raises(JobFailed) as failed:
                job.result(timeout=20)
            assert failed.value.code == "expired"
            took_s = time.monotonic() - began
            assert least_s <= took_s < least_s + 3
        with pytest.raises(JobFailed) as failed:
            streamed.result()
        assert failed.value.partial, "what had come is kept"
        until(lambda: all(call.ended_at for call in stack.calls()), what="the calls are closed", seconds=5)

        os.kill(stack.ready["workers"]["interactive"], signal.SIGSTOP)
        try:
            queued = client.submit("rehearsal/small", "Nobody takes it.", timeout_s=1)
            with pytest.raises(JobFailed) as failed:
                queued.result(timeout=20)
            assert failed.value.code == "expired"
        finally:
            os.kill(stack.ready["workers"]["interactive"], signal.SIGCONT)


def test_a_batch_ends_when_its_window_is_over(tmp_path: Path) -> None:
    """What is done is kept; what waits for a limit, or has not begun, becomes error lines."""
    with started(tmp_path, "--no-flower", "--no-gateway") as stack:
        with Headrace(settings=Settings.load(stack.client_environment)) as client:
            texts = [f"Item {n}." if n < 30 else f"{LIMITED} Item {n}." for n in range(200)]
            batch = client.extract(
                [{"id": str(n), "text": t} for n, t in enumerate(texts)], model="rehearsal/small", window_s=4
            )
            found = batch.wait(timeout=30)
        assert found.state == "expired"
        assert found.succeeded + found.cancelled == 200
        assert "window" in found.reason
        errors = stack.lines(batch.id, "errors")
        assert {line["error"]["code"] for line in errors} == {"batch_expired"}
        assert len(errors) == found.cancelled >= 100
