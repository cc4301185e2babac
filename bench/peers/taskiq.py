"""taskiq over Redis streams, the broker its docs name first for jobs that must not get lost. Variant: `lists`, its broker without
acknowledgements.

One worker process, as many tasks at a time as calls in flight; no result backend.
"""

from __future__ import annotations

import asyncio

from taskiq import TaskiqEvents, TaskiqState
from taskiq_redis import ListQueueBroker, RedisStreamBroker

from bench.peers import sdk
from bench.peers.contender import IN_FLIGHT, Run, append_rows, measure, rows_of, running

run = Run.load()
rows = append_rows(run)
# `0-0`: the group reads what was enqueued before the worker made it.
broker = (
    ListQueueBroker(run.redis_url)
    if run.variant == "lists"
    else RedisStreamBroker(run.redis_url, consumer_id="0-0", xread_count=IN_FLIGHT)
)


@broker.on_event(TaskiqEvents.WORKER_STARTUP)
async def connect(state: TaskiqState) -> None:
    state.client = sdk.async_client(run)


@broker.task
async def extract(number: int) -> None:
    await sdk.extract(broker.state.client, rows, number)


async def enqueue(numbers: range) -> None:
    for first in range(numbers.start, numbers.stop, 100):
        await asyncio.gather(*(extract.kiq(number) for number in numbers[first - numbers.start :][:100]))


def main() -> None:
    worker_arguments = ("worker", "bench.peers.taskiq:broker", "--workers", "1", "--log-level", "WARNING")
    bounds = ("--max-async-tasks", str(IN_FLIGHT), "--max-prefetch", str(IN_FLIGHT))
    with running(run, "taskiq", *worker_arguments, *bounds) as worker, asyncio.Runner() as runner:
        runner.run(broker.startup())
        work = rows_of(run, lambda numbers: runner.run(enqueue(numbers)), worker)
        measure(run, work, package="taskiq", worker=worker.pid)
        runner.run(broker.shutdown())
