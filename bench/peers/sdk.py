"""The OpenAI SDK as every peer uses it: one client a process, and one call an item."""

from __future__ import annotations

import functools
from typing import BinaryIO

import httpx2
import openai

from bench.peers import item
from bench.peers.contender import IN_FLIGHT, Run

# The SDK keeps 100 connections alive by default: with more calls in flight than that it would connect anew all the time.
LIMITS = httpx2.Limits(max_connections=1000, max_keepalive_connections=IN_FLIGHT)


def async_client(run: Run, *, aiohttp: bool = True) -> openai.AsyncOpenAI:
    """Return a client on the SDK's aiohttp transport, or on its default one."""
    transport = openai.DefaultAioHttpClient if aiohttp else openai.DefaultAsyncHttpxClient
    return openai.AsyncOpenAI(base_url=run.stub, api_key="stub", http_client=transport(limits=LIMITS))


async def extract(client: openai.AsyncOpenAI, rows: BinaryIO, number: int) -> None:
    """Call, decode, validate and write the row of item `number`."""
    completion = await client.chat.completions.create(**item.request(number))
    rows.write(item.row(number, completion.choices[0].message.content))


@functools.cache
def sync_client(stub: str) -> openai.OpenAI:
    """Return this process's client; threads share it."""
    return openai.OpenAI(base_url=stub, api_key="stub", http_client=openai.DefaultHttpxClient(limits=LIMITS))


def extract_sync(run: Run, rows: BinaryIO, number: int) -> None:
    """Do as `extract`, without a loop."""
    completion = sync_client(run.stub).chat.completions.create(**item.request(number))
    rows.write(item.row(number, completion.choices[0].message.content))
