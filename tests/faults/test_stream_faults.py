"""Streams under faults: workers killed and stopped, Redis stopped, emptied and failed over. Every viewer sees the whole."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

from crashing_server import kill_server
from event_clock import bystanding
from hooked import hooked
from stack import Stack, started, until
from transcript import Transcript

from headrace import AsyncHeadrace
from headrace.broker.queue import unacked_key
from headrace.client.handles import AsyncJobHandle
from headrace.events.ids import START, EventId
from headrace.ledger.queues import INTERACTIVE
from headrace.local.valkey import EmbeddedServer
from headrace.settings import Settings

MODEL = "rehearsal/small"
STALL_S = 0.9  # a viewer that was not told of an event would find it by the tail check, after a second or two
STORY = (
    "Tell of the river, the mill and the wheel, of the miller, his flour and his cat, one after the other, at length."
)


@contextlib.asynccontextmanager
async def connected(stack: Stack) -> AsyncIterator[AsyncHeadrace]:
    async with AsyncHeadrace(stack.ready["redis"], settings=Settings()) as client:
        yield client


class Watcher:
    """A viewer of one job, in a task of its own, and a bystander at its log. `away_s`: from when to when Redis was away."""

    def __init__(self, client: AsyncHeadrace, job: AsyncJobHandle[Any], after: EventId = START):
        self.client = client
        self.job = job
        self.seen = Transcript()
        self.away_s: list[tuple[float, float]] = []
        self.task = asyncio.create_task(self._watch(after))

    async def _watch(self, after: EventId) -> None:
        since_s = time.monotonic()
        async with bystanding(self.client.ledger, self.job.id) as self.bystander:
            with await self.client.reader.view(self.client.ledger.keys.job(self.job.id), after) as viewer:
                async for event in viewer:
                    self.seen.add(event, time.monotonic(), since_s)

    async def has(self, count: int) -> None:
        async with asyncio.timeout(20):
            while len(self.seen.events) < count:
                await asyncio.sleep(0.005)

    async def ended(self, seconds: float = 60) -> Transcript:
        async with asyncio.timeout(seconds):
            await self.task
        self.seen.check(await self.client.ledger.client.get(f"{self.client.ledger.keys.job(self.job.id)}:result"))
        self.seen.check_never_stalled(self.bystander.written_s, self.away_s, most_s=STALL_S)
        return self.seen


async def ask(client: AsyncHeadrace, orders: str) -> Watcher:
    return Watcher(client, await client.submit(MODEL, f"{STORY} [[rehearsal {orders}]]", stream=True))


async def test_a_worker_killed_after_any_number_of_events(tmp_path: Path) -> None:
    """Nothing yet, the first piece, half of it, all but the end, and the end: the viewers of all see the whole, once."""
    with started(tmp_path, "--no-flower") as stack:
        async with connected(stack) as client:
            orders = ["hang", "stall,after=1", "stall,after=8", "stall,after=100000"]
            broken = [await ask(client, f"fault={order},times=1") for order in orders]
            whole = await ask(client, "tps=400")
            await whole.ended()
            for watcher, count in zip(broken, (2, 3, 3, 3), strict=True):
                await watcher.has(count)
            until(lambda: len(stack.calls()) == 5, what="all are asked")
            os.kill(stack.ready["workers"]["interactive"], signal.SIGKILL)
            late = [Watcher(client, each.job, each.seen.ids[-1]) for each in broken]
            for watcher in broken:
                seen = await watcher.ended()
                starts = [event for event in seen.decoded if event["t"] == "attempt.start"]
                assert [(start["n"], start["reset"], start["reason"]) for start in starts] == [
                    (1, False, "claim"),
                    (2, True, "crash"),
                ]
                assert len(stack.calls_of(watcher.job.id)) == 2
            for watcher in late:
                assert (await watcher.ended()).decoded[0]["t"] == "attempt.start"
            assert len(stack.calls_of(whole.job.id)) == 1


async def test_a_worker_killed_between_the_end_and_the_ack(tmp_path: Path) -> None:
    """The answer is in the ledger: when the hint is delivered again, to another worker, nobody is asked."""
    mark = tmp_path / "last word"
    environment = {**hooked("die_before_ack"), "DIED_BEFORE_ACK": str(mark)}
    with started(tmp_path, "--no-flower", environment=environment) as stack:
        async with connected(stack) as client:
            dead = stack.ready["workers"]["interactive"]
            watcher = await ask(client, "tps=200")
            seen = await watcher.ended()
            until(
                lambda: mark.exists() and stack.ready["workers"]["interactive"] != dead, what="another worker is there"
            )
            unacked = unacked_key(client.ledger.namespace)
            assert await client.ledger.client.hlen(unacked) == 1
            await client.ledger_backend.hints.publish(client.ledger, [(INTERACTIVE, watcher.job.id)])
            after = await ask(client, "tps=200")  # in the queue behind it
            await after.ended()
            async with asyncio.timeout(10):
                while await client.ledger.client.hlen(unacked) > 1:
                    await asyncio.sleep(0.01)
            assert (await Watcher(client, watcher.job).ended()).events == seen.events
            assert len(stack.calls_of(watcher.job.id)) == 1
            assert await watcher.job.status() == "succeeded"


@contextlib.contextmanager
def second_worker(stack: Stack) -> Iterator[None]:
    environment = {**stack.client_environment, "REHEARSAL_BASE_URL": f"{stack.ready['rehearsal']}/v1"}
    ready = stack.folder / "second.ready"
    command = [sys.executable, "-m", "headrace_worker", "--role", "interactive", "--ready-file", str(ready)]
    with (stack.folder / "second.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=stack.folder)
    try:
        until(ready.exists, what="the second worker is ready")
        yield
    finally:
        process.terminate()
        process.wait(30)


async def test_a_zombie_is_fenced_and_closes_its_call(tmp_path: Path) -> None:
    with started(tmp_path, "--no-flower") as stack:
        async with connected(stack) as client:
            watcher = await ask(client, "fault=stall,after=8,times=1,tps=10")
            await watcher.has(3)
            zombie = stack.ready["workers"]["interactive"]
            with second_worker(stack):
                os.kill(zombie, signal.SIGSTOP)
                try:
                    async with asyncio.timeout(40):
                        while len({id.epoch for id in watcher.seen.ids}) < 2:
                            await asyncio.sleep(0.01)
                finally:
                    woke_at = time.time()
                    os.kill(zombie, signal.SIGCONT)
                gone = until(lambda: stack.calls_of(watcher.job.id)[0].gone_at, what="the zombie's call is closed")
                assert watcher.seen.fold().end is None
                seen = await watcher.ended()
                first, second = sorted(stack.calls_of(watcher.job.id), key=lambda call: call.received_at)
                assert second.finished_at is not None
                assert first.gone_at is None or first.gone_at > woke_at
                assert gone - woke_at < 2
                again = await Watcher(client, watcher.job).ended()
                assert again.events == [event for event in seen.events if event.id.epoch == seen.ids[-1].epoch]
                assert await watcher.job.status() == "succeeded"


async def test_redis_stopped_and_emptied_under_a_running_stream(
    own_valkey: Callable[..., EmbeddedServer], tmp_path: Path
) -> None:
    server = own_valkey("--appendonly", "no")
    with started(tmp_path, "--no-flower", environment={"HEADRACE_REDIS_URL": server.url}) as stack:
        async with connected(stack) as client:
            stopped, slow = await ask(client, "tps=12"), await ask(client, "fault=stall,after=8,times=1")
            await stopped.has(5)
            await slow.has(3)
            assert server.pid is not None
            began_s = time.monotonic()
            os.kill(server.pid, signal.SIGSTOP)
            await asyncio.sleep(3)
            os.kill(server.pid, signal.SIGCONT)
            stopped.away_s.append((began_s, time.monotonic()))
            seen = await stopped.ended()
            assert len({id.epoch for id in seen.ids}) == 1
            assert len(stack.calls_of(stopped.job.id)) == 1

            emptied = await ask(client, "tps=12")
            await emptied.has(8)
            began_s = time.monotonic()
            kill_server(server)
            await asyncio.to_thread(server.start)
            assert not await client.ledger.client.exists(client.ledger.keys.spend("default"))
            emptied.away_s.append((began_s, time.monotonic()))
            slow.away_s += stopped.away_s + emptied.away_s
            seen = await emptied.ended()
            assert len({id.epoch for id in seen.ids}) == 1
            assert (await Watcher(client, emptied.job).ended()).events == seen.events
            assert len(stack.calls_of(emptied.job.id)) == 1
            # Also a call that says nothing is found to be lost, by the beat.
            async with asyncio.timeout(10):
                while await slow.job.status() != "running":
                    await asyncio.sleep(0.05)
            await slow.job.cancel()
            await slow.ended()
