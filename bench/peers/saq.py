"""saq: one worker process, as many jobs at a time as calls in flight, nothing kept of a job that has ended (`ttl=-1`).

Each of its slots waits for jobs on a connection of its own. With hiredis, as its docs recommend.
"""

from __future__ import annotations

import asyncio
from typing import Any

from redis.asyncio import Redis
from saq import Queue
from saq.queue.redis import RedisQueue

from bench.peers import sdk
from bench.peers.contender import IN_FLIGHT, Run, append_rows, measure, rows_of, running

run = Run.load()
rows = append_rows(run)
queue: Queue = RedisQueue(Redis.from_url(run.redis_url))


async def connect(context: dict[str, Any]) -> None:
    context["client"] = sdk.async_client(run)


async def extract(context: dict[str, Any], *, number: int) -> None:
    await sdk.extract(context["client"], rows, number)


settings = {"queue": queue, "functions": [extract], "concurrency": IN_FLIGHT, "startup": connect}


async def enqueue(numbers: range) -> None:
    for first in range(0, len(numbers), 100):
        await asyncio.gather(
            *(queue.enqueue("extract", number=number, ttl=-1) for number in numbers[first : first + 100])
        )


def main() -> None:
    with running(run, "saq", "bench.peers.saq.settings", "--quiet") as worker, asyncio.Runner() as runner:
        work = rows_of(run, lambda numbers: runner.run(enqueue(numbers)), worker)
        measure(run, work, package="saq", worker=worker.pid)
        runner.run(queue.disconnect())
