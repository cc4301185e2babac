"""dramatiq: async actors on its AsyncIO middleware, or with the variant `threads` plain ones. One process.

A thread waits for every async actor, so there are as many threads as calls in flight; plain actors have its default of 8.
"""

from __future__ import annotations

import functools

import dramatiq
import openai
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import AsyncIO

from bench.peers import sdk
from bench.peers.contender import IN_FLIGHT, Run, append_rows, measure, rows_of, running

THREADS = {"asyncio": IN_FLIGHT, "threads": 8}

run = Run.load()
rows = append_rows(run)
broker = RedisBroker(url=run.redis_url)
broker.add_middleware(AsyncIO())
dramatiq.set_broker(broker)


@functools.cache
def client() -> openai.AsyncOpenAI:
    return sdk.async_client(run)


if run.variant == "threads":

    @dramatiq.actor
    def extract(number: int) -> None:
        sdk.extract_sync(run, rows, number)
else:

    @dramatiq.actor
    async def extract(number: int) -> None:
        await sdk.extract(client(), rows, number)


def enqueue(numbers: range) -> None:
    for number in numbers:
        extract.send(number)


def main() -> None:
    arguments = ("bench.peers.dramatiq", "--processes", "1", "--threads", str(THREADS[run.variant]))
    with running(run, "dramatiq", *arguments) as worker:
        measure(run, rows_of(run, enqueue, worker), package="dramatiq", worker=worker.pid)
