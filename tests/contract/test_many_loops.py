"""A model on one event loop after another, and on two at once: each has connections of its own, which end with it."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import warnings
from pathlib import Path

import pytest
from fake_transport import answer
from headrace_providers import OpenAIChatCompletion
from stub_provider import stub_provider

pytestmark = pytest.mark.usefixtures("each_transport")


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
def test_one_loop_after_another_leaves_nothing_open() -> None:
    with stub_provider({"k": answer("hello")}) as provider, warnings.catch_warnings():
        warnings.simplefilter("error")
        model = OpenAIChatCompletion("m", base_url=provider.url, api_key="none-such", retry=False)
        asyncio.run(model.acall("<k>"))
        before = open_files()
        for _ in range(10):
            assert asyncio.run(model.acall("<k>")).data == "hello"
        gc.collect()
        assert open_files() <= before


def test_two_loops_at_once() -> None:
    texts: list[str] = []

    async def calls() -> None:
        texts.extend([(await model.acall("<k>")).data for _ in range(20)])

    with stub_provider({"k": answer("hello")}) as provider:
        model = OpenAIChatCompletion("m", base_url=provider.url, api_key="none-such", retry=False)
        threads = [threading.Thread(target=asyncio.run, args=(calls(),)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert texts == ["hello"] * 60


async def test_close_is_said_once_or_often_and_connects_again_after() -> None:
    with stub_provider({"k": answer("hello")}) as provider:
        async with OpenAIChatCompletion("m", base_url=provider.url, api_key="none-such", retry=False) as model:
            for _ in range(2):
                assert (await model.acall("<k>")).data == "hello"
                await asyncio.gather(model.close(), model.close())
                await model.close()


async def test_a_model_that_nobody_holds_closes_its_connections() -> None:
    with stub_provider({"k": answer("hello")}) as provider:
        model = OpenAIChatCompletion("m", base_url=provider.url, api_key="none-such", retry=False)
        await model.acall("<k>")
        before = open_files()
        del model
        gc.collect()
        async with asyncio.timeout(5):
            while open_files() >= before:
                await asyncio.sleep(0.01)
