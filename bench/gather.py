"""The peer: one process of `asyncio.gather` over the bare `AsyncOpenAI` client, doing the same schema work.

`python bench/gather.py BASE_URL ITEMS default|aiohttp` prints `{"seconds", "cpu_seconds"}`.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time

import jsonschema_rs
import openai
from stub import SCHEMA

IN_FLIGHT = 256


async def main(base_url: str, items: int, transport: str) -> None:
    http_client = openai.DefaultAioHttpClient() if transport == "aiohttp" else None
    client = openai.AsyncOpenAI(base_url=base_url, api_key="stub", max_retries=0, http_client=http_client)
    validator = jsonschema_rs.validator_for(SCHEMA, validate_formats=True)
    slots = asyncio.Semaphore(IN_FLIGHT)
    rows: list[bytes] = []

    async def one(number: int) -> None:
        async with slots:
            completion = await client.chat.completions.create(
                model="stub",
                messages=[{"role": "user", "content": f"Extract: item {number} is a thing that costs 12."}],
                response_format={
                    "type": "json_schema",
                    "json_schema": {"name": "record", "schema": SCHEMA, "strict": True},
                },
            )
        value = json.loads(completion.choices[0].message.content or "")
        validator.validate(value)
        rows.append(json.dumps({"custom_id": str(number), "value": value}).encode())

    await one(-1)
    began, used = time.perf_counter(), cpu_seconds()
    await asyncio.gather(*(one(number) for number in range(items)))
    print(json.dumps({"seconds": time.perf_counter() - began, "cpu_seconds": cpu_seconds() - used}))
    await client.close()


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
