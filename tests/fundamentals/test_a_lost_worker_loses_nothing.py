"""Nothing accepted is lost, and nothing is finished twice, though a worker is killed in the middle of its work.

`kill -9` gives a process no last word. Its leases run out, another one claims its records, and viewers see a new attempt begin.
What it costs are the calls that were in flight in the process that died: the provider's own account is the judge. (Leases last
2 s here, so that nobody waits for 16.)
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from headrace_rehearsal import account
from hooked import hooked
from stack import started, until

from headrace import Headrace
from headrace.settings import Settings

PACE = "[[rehearsal latency=400 jitter=400]]"


def test_both_workers_are_killed_at_work(tmp_path: Path) -> None:
    with (
        started(tmp_path, "--no-flower", "--no-gateway", environment=hooked("short_lease")) as stack,
        Headrace(settings=Settings.load(stack.client_environment)) as client,
    ):
        batch = client.extract([f"{PACE} Item {n}." for n in range(400)], model="rehearsal/small")
        jobs = client.submit_many("rehearsal/small", [f"{PACE} Job {n}." for n in range(20)])
        until(lambda: batch.progress().succeeded > 20, what="some items have ended, and others have not")
        kills = []
        for role in ("bulk", "interactive"):
            kills.append(time.time())
            os.kill(stack.ready["workers"][role], signal.SIGKILL)

        assert all(job.result(60) for job in jobs)
        ended = batch.wait(60)
        assert (ended.state, ended.succeeded, ended.failed) == ("completed", 400, 0)
        assert [row.custom_id for row in batch.results()] == [f"line-{n + 1}" for n in range(400)]

        # An answer that had left the provider and was not yet in the ledger was in flight, too.
        calls = stack.calls()
        last_moment = sum(bool(call.ended_at) and -0.25 <= call.ended_at - at <= 0 for call in calls for at in kills)
        in_flight = sum(len(account.in_flight_at(calls, at)) for at in kills)
        assert account.paid_twice(calls) <= in_flight + last_moment
