"""A service that is stopped goes on where it was when it is started again, and pays nothing twice.

SIGTERM lets the calls in flight end (the *drain*), hands the rest back, and writes everything to disk. A deploy is the same:
it is no crash, and it is held against nobody. A caller keeps the id, and reads the rows by it whenever they are there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from headrace_rehearsal import account
from stack import Stack, started, until

from headrace import Headrace
from headrace.settings import Settings

COUNT = 300


@contextmanager
def service(folder: Path) -> Iterator[tuple[Stack, Headrace]]:
    """A service on `folder`, and its client; stopped with SIGTERM at the end."""
    with (
        started(folder, "--no-flower", "--no-gateway", environment={"HEADRACE_CALLS": "32"}) as stack,
        Headrace(settings=Settings.load(stack.client_environment)) as client,
    ):
        yield stack, client


def test_a_batch_goes_on_after_a_stop(tmp_path: Path) -> None:
    texts = [f"[[rehearsal latency=600]] Item {n}." for n in range(COUNT)]
    with service(tmp_path) as (_, client):
        batch = client.extract(texts, model="rehearsal/small").id
        until(lambda: client.batch(batch).progress().succeeded > 20, what="it is at work")

    with service(tmp_path) as (stack, client):
        assert client.batch(batch).progress().succeeded < COUNT, "it was stopped in the middle"
        ended = client.batch(batch).wait(60)
        assert (ended.state, ended.succeeded, ended.failed) == ("completed", COUNT, 0)
        assert account.paid_twice(stack.calls()) == 0
        assert len(stack.calls_of(batch)) == COUNT
