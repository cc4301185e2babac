"""Celery, one task per completion. Variants: `prefork`, `threads`.

Tuned for short tasks as its guide on optimizing says: no results, no events, prefetching, none of the chatter between workers.
Tasks are acknowledged early, its default, which is cheaper than late. A prefork pool has a process per core, its default: more
only wait for a processor at 0 ms. So do threads beyond a few, but with fewer than 16 it were no pool for calls that take time.
"""

from __future__ import annotations

from celery import Celery

from bench.peers import sdk
from bench.peers.contender import Run, append_rows, measure, rows_of, running

CONCURRENCY = {"prefork": "2", "threads": "16"}

run = Run.load()
rows = append_rows(run)
app = Celery("peer", broker=f"redis+socket://{run.socket}")
app.conf.update(
    task_ignore_result=True,
    task_serializer="json",
    worker_prefetch_multiplier=64,
    worker_disable_rate_limits=True,
    worker_hijack_root_logger=False,
)


@app.task
def extract(number: int) -> None:
    sdk.extract_sync(run, rows, number)


def enqueue(numbers: range) -> None:
    with app.producer_pool.acquire(block=True) as producer:
        for number in numbers:
            extract.apply_async((number,), producer=producer)


def main() -> None:
    arguments = ("--pool", run.variant, "--concurrency", CONCURRENCY[run.variant], "--loglevel", "WARNING")
    quiet = ("--without-gossip", "--without-mingle", "--without-heartbeat")
    with running(run, "celery", "-A", "bench.peers.celery", "worker", *arguments, *quiet) as worker:
        measure(run, rows_of(run, enqueue, worker), package="celery", worker=worker.pid)
