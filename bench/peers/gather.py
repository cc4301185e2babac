"""One process of `asyncio.gather` over `AsyncOpenAI`: no queue, nothing survives it. Variants: `default`, `aiohttp`.

A semaphore bounds the calls in flight, as the SDK's own would not: it opens a connection for every one of them.
"""

from __future__ import annotations

import asyncio
from typing import BinaryIO

import openai

from bench.peers import sdk
from bench.peers.contender import IN_FLIGHT, Run, measure


async def gather(client: openai.AsyncOpenAI, rows: BinaryIO, numbers: range) -> None:
    slots = asyncio.Semaphore(IN_FLIGHT)

    async def one(number: int) -> None:
        async with slots:
            await sdk.extract(client, rows, number)

    await asyncio.gather(*(one(number) for number in numbers))
    rows.flush()


def main() -> None:
    run = Run.load()
    client = sdk.async_client(run, aiohttp=run.variant == "aiohttp")
    # Rows are written in blocks: when the process dies, all is lost anyway.
    with asyncio.Runner() as runner, run.rows.open("wb") as rows:
        measure(run, lambda numbers: runner.run(gather(client, rows, numbers)), package="openai")
        runner.run(client.close())
