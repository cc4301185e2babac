"""A provider that caches prefixes from an answer on, as theirs do: over four workers one call pays for the whole prompt."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from fake_transport import answer
from fleet import more_workers
from stack import Stack, started, until

ITEMS = 200
SYSTEM = "You name colours, and nothing else. " * 150
PREFIX_TOKENS = 1_500
LATENCY_S = 0.3


class CachingProvider:
    """Answers after a while; from the end of the first answer on, its prompt's system message is cached. `calls` are the times
    of begin and end with the bodies, in the order in which they ended."""

    def __init__(self) -> None:
        self.calls: list[tuple[float, float, dict[str, Any]]] = []
        self._cached: set[str] = set()
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self.url = ""

    async def _answer(self, request: web.Request) -> web.Response:
        begun, body = time.time(), await request.json()
        prefix = json.dumps(body["messages"][0])
        is_cached = prefix in self._cached
        await asyncio.sleep(LATENCY_S)
        self._cached.add(prefix)
        self.calls.append((begun, time.time(), body))
        made = answer("blue")
        made["usage"] = {
            "prompt_tokens": PREFIX_TOKENS + 10,
            "completion_tokens": 5,
            "total_tokens": PREFIX_TOKENS + 15,
            "prompt_tokens_details": {"cached_tokens": PREFIX_TOKENS if is_cached else 0},
        }
        return web.json_response(made)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        app = web.Application(client_max_size=1 << 24)
        app.router.add_post("/v1/chat/completions", self._answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        self._loop.run_until_complete(runner.setup())
        self._loop.run_until_complete(web.TCPSite(runner, "127.0.0.1", 0).start())
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())
        self._loop.close()

    @contextlib.contextmanager
    def serving(self) -> Iterator[CachingProvider]:
        thread = threading.Thread(target=self._serve)
        thread.start()
        self._ready.wait(30)
        try:
            yield self
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            thread.join(30)


@pytest.fixture(scope="module")
def provider() -> Iterator[CachingProvider]:
    with CachingProvider().serving() as provider:
        yield provider


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, provider: CachingProvider) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("caches")
    prices = {
        "caching/priced": {"input": 2.0, "output": 8.0, "cache_read": 0.5},
        "caching/flat": {"input": 2.0, "output": 8.0},
    }
    (folder / "profiles.json").write_text(json.dumps(prices))
    rows = {"caching": {"base_url": provider.url, "prompt_cache_key": True}}
    environment = {
        "HEADRACE_PROVIDERS": json.dumps(rows),
        "HEADRACE_PROFILES": str(folder / "profiles.json"),
        "HEADRACE_CALLS": "16",
    }
    with started(folder / "up", "--no-flower", "--no-gateway", environment=environment) as stack:
        yield stack


def run(
    stack: Stack, provider: CachingProvider, model: str, system: str, folder: Path
) -> tuple[dict[str, Any], list[Any]]:
    """The batch as `batches show` has it, and its calls."""
    source = folder / "colours.jsonl"
    source.write_text("".join(json.dumps({"text": f"Colour number {n}."}) + "\n" for n in range(ITEMS)))
    before = len(provider.calls)
    opened = stack.run("extract", str(source), "--model", model, "--system", system, "--detach", "--no-cache", "--new")
    assert opened.returncode == 0, opened.stderr
    batch = opened.stdout.strip()
    until(lambda: stack.batch(batch)["state"] == "completed", what="the batch is done", seconds=90)
    calls = provider.calls[before:]
    assert len(calls) == ITEMS
    return json.loads(stack.run("batches", "show", batch).stdout), sorted(calls, key=lambda call: call[0])


def test_one_call_pays_for_the_prefix_and_the_rest_is_cached(
    stack: Stack, provider: CachingProvider, tmp_path: Path
) -> None:
    with more_workers(stack, "bulk", "bulk", "bulk"):
        shown, calls = run(stack, provider, "caching/priced", SYSTEM, tmp_path)
    first = calls[0]
    assert all(begun >= first[1] for begun, _, _ in calls[1:]), "the others wait for the first answer, in all workers"
    assert shown["cached_tokens"] == PREFIX_TOKENS * (ITEMS - 1)
    assert shown["cached_share"] == pytest.approx(
        PREFIX_TOKENS * (ITEMS - 1) / ((PREFIX_TOKENS + 10) * ITEMS), abs=1e-4
    )
    assert len({body["prompt_cache_key"] for _, _, body in calls}) == 1
    prefixes = {json.dumps({**body, "messages": body["messages"][:1]}) for _, _, body in calls}
    assert len(prefixes) == 1, "all but the item's own message is the same, byte for byte"
    assert len({body["messages"][1]["content"] for _, _, body in calls}) == ITEMS


def test_where_it_is_not_cheaper_or_too_short_nobody_waits(
    stack: Stack, provider: CachingProvider, tmp_path: Path
) -> None:
    for model, system in (("caching/flat", f"{SYSTEM} Flat."), ("caching/priced", "Short.")):
        _, calls = run(stack, provider, model, system, tmp_path)
        assert sum(begun < calls[0][1] for begun, _, _ in calls) > 4, "they begin together"
        assert ("prompt_cache_key" in calls[0][2]) is (system != "Short.")


def test_a_prefix_that_was_called_a_moment_ago_is_warm(stack: Stack, provider: CachingProvider, tmp_path: Path) -> None:
    """The same batch again: its first calls go out together."""
    _, calls = run(stack, provider, "caching/priced", SYSTEM, tmp_path)
    assert sum(begun < calls[0][1] for begun, _, _ in calls) > 4
