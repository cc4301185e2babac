"""What one call of a provider class costs, against the bare SDK on the same transport: the same 4 KB prompt, the same stub.

Rounds take turns, so that whatever else the machine does falls on both.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import openai
from headrace_providers import OpenAIChatCompletion

from bench.report.figures import Row, row
from bench.service import stub
from headrace.jobs.job import Job

ROUNDS, CALLS, TOGETHER = 9, 300, 16
PROMPT = "Extract what is in this text. " * 137  # 4 KB


def rows() -> list[Row]:
    """CPU of a plain call, as a ratio to the SDK's own."""
    with tempfile.TemporaryDirectory() as folder, stub(Path(folder)) as url:
        plain, through_cpu_ms = asyncio.run(ratio(url))
    return [
        row("CPU of a provider call, against the bare SDK on the same transport", plain, "x", 1.15, at_most=True),
        row("CPU of a provider call", through_cpu_ms, "ms", None),
    ]


async def ratio(url: str) -> tuple[float, float]:
    """Median over the rounds of our CPU to the SDK's, and ours in milliseconds a call."""
    client = openai.AsyncOpenAI(base_url=url, api_key="stub", max_retries=0, http_client=openai.DefaultAioHttpClient())
    model = OpenAIChatCompletion("stub", base_url=url, api_key="stub", retry=False)
    messages = [{"role": "user", "content": PROMPT}]
    job = Job(model="openai/stub", messages=messages)

    async def bare() -> None:
        completion = await client.chat.completions.create(model="stub", messages=messages)  # type: ignore[arg-type]
        assert completion.choices[0].message.content

    async def ours() -> None:
        completion = await model.complete(job)
        assert completion.content

    ratios, costs = [], []
    for call in (bare, ours):
        await cost_of(call)
    for _ in range(ROUNDS):
        theirs, mine = await cost_of(bare), await cost_of(ours)
        ratios.append(mine / theirs)
        costs.append(mine)
    await client.close()
    await model.close()
    return round(statistics.median(ratios), 2), round(statistics.median(costs) * 1000, 3)


async def cost_of(call: Callable[[], Awaitable[None]], count: int = CALLS) -> float:
    """CPU seconds of one call, over `count` of them."""
    slots = asyncio.Semaphore(TOGETHER)

    async def one() -> None:
        async with slots:
            await call()

    began = time.process_time()
    await asyncio.gather(*(one() for _ in range(count)))
    return (time.process_time() - began) / count


if __name__ == "__main__":
    for each in rows():
        print(each)
