"""arq: one worker process, as many jobs at a time as calls in flight, results not kept, the queue looked at every 0.1 s."""

from __future__ import annotations

import asyncio
from typing import Any

from arq import create_pool, func
from arq.connections import ArqRedis, RedisSettings

from bench.peers import sdk
from bench.peers.contender import IN_FLIGHT, Run, append_rows, measure, rows_of, running

run = Run.load()
rows = append_rows(run)


LOGGING = {"version": 1, "disable_existing_loggers": False, "loggers": {"arq": {"level": "WARNING"}}}
"""By default it logs two lines a job."""


async def connect(context: dict[str, Any]) -> None:
    context["client"] = sdk.async_client(run)


async def extract(context: dict[str, Any], number: int) -> None:
    await sdk.extract(context["client"], rows, number)


class WorkerSettings:
    functions = (func(extract, keep_result=0),)
    on_startup = connect
    redis_settings = RedisSettings(unix_socket_path=run.socket)
    max_jobs = IN_FLIGHT
    poll_delay = 0.1
    log_results = False


async def enqueue(pool: ArqRedis, numbers: range) -> None:
    for first in range(0, len(numbers), 100):
        await asyncio.gather(*(pool.enqueue_job("extract", number) for number in numbers[first : first + 100]))


def main() -> None:
    quiet = ("--custom-log-dict", "bench.peers.arq.LOGGING")
    with running(run, "arq", "bench.peers.arq.WorkerSettings", *quiet) as worker, asyncio.Runner() as runner:
        pool = runner.run(create_pool(WorkerSettings.redis_settings))
        work = rows_of(run, lambda numbers: runner.run(enqueue(pool, numbers)), worker)
        measure(run, work, package="arq", worker=worker.pid)
        runner.run(pool.aclose())
