"""How long a job may take: what every way to submit one says, and what it is when nobody says."""

from __future__ import annotations

import contextlib
from pathlib import Path

from gateways import ask
from stack import Stack, started

from headrace.client.sync_client import Headrace
from headrace.settings import Settings

HOUR_MS = 3_600_000


def may_take_ms(stack: Stack, job: str) -> int:
    with contextlib.closing(stack.client) as client:
        expires, created = client.hmget(f"{{hr}}:job:{job}", ["expires", "created"])
    return int(expires) - int(created)


def test_every_way_to_submit_has_a_deadline(tmp_path: Path) -> None:
    with started(tmp_path, "--no-flower") as stack:
        base = stack.ready["gateway"]
        body = {"model": "rehearsal/small", "messages": [{"role": "user", "content": "Why?"}]}

        def accepted(path: str, **own: object) -> str:
            answer = ask(f"{base}{path}", "POST", body | ({"headrace": own} if own else {}))
            assert answer.status in (200, 202), answer.body
            return answer.headers["x-headrace-job"]

        assert may_take_ms(stack, accepted("/v1/jobs")) == 24 * HOUR_MS
        assert may_take_ms(stack, accepted("/v1/chat/completions")) == HOUR_MS
        assert may_take_ms(stack, accepted("/v1/jobs", timeout_s=90)) == 90_000
        assert may_take_ms(stack, accepted("/v1/chat/completions", timeout_s=90.5)) == 90_500
        for wrong in (0, -1, "90", True, 10**9):
            answer = ask(f"{base}/v1/jobs", "POST", body | {"headrace": {"timeout_s": wrong}})
            assert answer.status == 400, wrong
            assert "timeout_s" in answer.json["error"]["message"]

        with Headrace(settings=Settings.load(stack.client_environment)) as client:
            assert may_take_ms(stack, client.submit("rehearsal/small", "Why?").id) == 24 * HOUR_MS
            assert may_take_ms(stack, client.submit("rehearsal/small", "Why?", timeout_s=60).id) == 60_000
            (job,) = client.submit_many("rehearsal/small", ["Why?"], timeout_s=60)
            assert may_take_ms(stack, job.id) == 60_000

        done = stack.run("run", "Why?", "--model", "rehearsal/small", "--timeout", "30", "--detach")
        assert may_take_ms(stack, done.stdout.strip()) == 30_000
        slow = stack.run("run", "[[rehearsal latency=60000]] Why?", "--model", "rehearsal/small", "--timeout", "1")
        assert slow.returncode == 1
        assert "expired" in slow.stderr
        wrong = stack.run("run", "Why?", "--model", "rehearsal/small", "--timeout", "0")
        assert (wrong.returncode, "timeout_s" in wrong.stderr) == (2, True)
        gone = ask(f"{base}/v1/chat/completions", "POST", body | {"headrace": {"timeout_s": 1}, "messages": [
            {"role": "user", "content": "[[rehearsal latency=60000]] Why?"}
        ]})  # fmt: skip
        assert (gone.status, gone.json["error"]["code"]) == (504, "expired")
