"""No prompt, answer or key in a log, in a message of the broker, or in the arguments of a process.

Prompts and answers are in the ledger and the files, keys in the environment of the workers alone. What a log says of an exception
is its type and its place, never its text, because nobody knows what a provider or a library puts into it.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from stack import Stack, tree

from headrace import Headrace, JobFailed

MODEL = "rehearsal/small"
CANARY = "canary-of-the-tutorial"
FAULTS = ("[[rehearsal fault=500 times=1]]", "[[rehearsal fault=400]]", "[[rehearsal fault=cut times=1]]")


def test_a_prompt_is_in_the_ledger_and_nowhere_else(client: Headrace, stack: Stack) -> None:
    """Of a job that succeeds, of one that is tried again, and of one that fails."""
    jobs = [client.submit(MODEL, f"{order} {CANARY}") for order in ("", *FAULTS)]
    for job in jobs:
        with contextlib.suppress(JobFailed):
            job.result(60)
    with contextlib.closing(stack.client) as redis:
        assert CANARY.encode() in redis.get(f"{{hr}}:job:{jobs[0].id}:result"), "here it belongs"
        for key in redis.scan_iter("*"):
            if not key.startswith(b"{hr}:") and redis.type(key) == b"list":
                assert not any(CANARY.encode() in message for message in redis.lrange(key, 0, -1)), key

    logs = [stack.folder / "up.log", *(stack.folder / ".headrace" / "logs").glob("*.log")]
    assert any(log.stat().st_size for log in logs)
    for log in logs:
        assert CANARY not in log.read_text(), log.name
    for pid in tree(stack.folder):
        assert CANARY.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
