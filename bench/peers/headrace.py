"""headrace: a batch through one bulk worker, and its results saved as rows. It runs in the project's own environment.

The default settings, through the public client.
"""

from __future__ import annotations

import os

from bench.peers import item
from bench.peers.contender import Run, measure, running
from headrace import Headrace


def main() -> None:
    run = Run.load()
    os.environ |= {
        "HEADRACE_REDIS_URL": run.redis_url,
        "HEADRACE_FILES": str(run.rows.with_name("files")),
        "OPENAI_BASE_URL": run.stub,
        "OPENAI_API_KEY": "stub",
    }
    with running(run, "headrace_worker", "--role", "bulk") as worker, Headrace() as client:

        def work(numbers: range) -> None:
            items = ({"id": str(number), "number": number} for number in numbers)
            batch = client.extract(items, item.PROMPT, model=f"openai/{item.MODEL}", schema=item.SCHEMA, cache=False)
            ended = batch.wait()
            if ended.succeeded != len(numbers):
                raise SystemExit(f"only {ended.succeeded} of {len(numbers)} items succeeded")
            batch.save(run.rows)

        measure(run, work, package="headrace", worker=worker.pid)
