"""A replica that was behind takes over after the writer has died too: the lost tail is gone, and viewers begin anew."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec
import pytest
from headrace_worker.publishing.publisher import Flusher, Publisher
from proxy import Proxy, proxied
from transcript import Transcript

from headrace.events.ids import START, EventId
from headrace.events.reader import Reader
from headrace.events.types import TextDelta
from headrace.jobs.job import new_id
from headrace.ledger.claim import claim
from headrace.ledger.finish import finish
from headrace.ledger.recover import recover
from headrace.ledger.script import Ledger
from headrace.ledger.state import JobState
from headrace.ledger.submit import submit
from headrace.local.ports import free_port
from headrace.local.valkey import EmbeddedServer

EXPIRED, LONG = -1, 10**9


async def attempt(ledger: Ledger, job: str, token: str, lease_ms: int) -> Publisher:
    queue = (await ledger.client.hget(ledger.keys.job(job), "queue")).decode()
    claimed = await claim(ledger, job, token=token, owner="w", queue=queue, lease_ms=lease_ms)
    return Publisher(Flusher(ledger), job, claimed.epoch, claimed.record)


async def say(publisher: Publisher, *texts: str) -> None:
    for text in texts:
        publisher.put(TextDelta(d=text))
        await publisher.settled()


async def watch(reader: Reader, ledger: Ledger, job: str, seen: Transcript, after: EventId = START) -> None:
    with await reader.view(ledger.keys.job(job), after) as viewer:
        async for event in viewer:
            seen.add(event)


async def until_equal(ledger: Ledger, key: str, seq: int) -> None:
    async with asyncio.timeout(20):
        while int(await ledger.client.hget(key, "seq") or 0) != seq:
            await asyncio.sleep(0.02)


async def promoted(replica: Ledger, proxy: Proxy, port: int) -> None:
    await replica.client.execute_command("REPLICAOF", "NO", "ONE")
    await proxy.switch(port)


@pytest.mark.parametrize("written_since", [2, 9], ids=["less than was lost", "more than was lost"])
async def test_a_dead_workers_lost_tail_is_never_mixed_with_the_next_attempt(
    own_valkey: Callable[..., EmbeddedServer], namespace: str, written_since: int
) -> None:
    """Whether the new attempt has more numbers than the old one had, or fewer: viewers of both are told to begin anew."""
    first, second = free_port(), free_port()
    bind = ("--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--repl-diskless-sync-delay", "0")
    await asyncio.to_thread(own_valkey, *bind, "--port", str(first), folder="primary")
    async with proxied(first) as proxy, proxied(first) as replication:
        behind = ("--port", str(second), "--replicaof", f"127.0.0.1 {replication.port}")
        replica = Ledger.at((await asyncio.to_thread(own_valkey, *bind, *behind, folder="replica")).url, namespace)
        ledger = Ledger.at(f"redis://127.0.0.1:{proxy.port}/0", namespace)
        reader, elsewhere = Reader(ledger), Reader(ledger)
        job = await submit(ledger, new_id("job"), b'{"v":1}', queue="interactive")
        key = ledger.keys.job(job)
        dead = await attempt(ledger, job, "a", EXPIRED)
        await say(dead, "replicated ")
        await until_equal(replica, key, 2)
        seen = Transcript()
        viewing = asyncio.create_task(watch(reader, ledger, job, seen))
        replication.swallow()
        await say(dead, *(f"lost {n} " for n in range(5)))
        async with asyncio.timeout(10):
            while len(seen.events) < 7:
                await asyncio.sleep(0.01)

        await promoted(replica, proxy, second)
        assert await recover(replica) == [("quarantine", job)]
        alive = await attempt(replica, job, "b", LONG)
        assert alive.epoch > dead.epoch
        texts = [f"anew {n} " for n in range(written_since)]
        await say(alive, *texts)
        resumed = Transcript()  # at a reader that never saw what was lost
        resuming = asyncio.create_task(watch(elsewhere, ledger, job, resumed, seen.ids[6]))
        result = msgspec.json.encode({"completion": {"content": "".join(texts), "finish_reason": "stop"}})
        event = b'{"t":"end","status":"succeeded"}'
        await alive.move(
            lambda seq: finish(replica, job, alive.epoch, JobState.SUCCEEDED, seq=seq, event=event, result=result)
        )
        async with asyncio.timeout(10):
            await asyncio.gather(viewing, resuming)
        whole = [EventId(alive.epoch, seq) for seq in range(1, written_since + 3)]
        assert seen.ids == [*(EventId(dead.epoch, seq) for seq in range(1, 8)), *whole]
        assert resumed.ids == whole
        for transcript in (seen, resumed):
            assert transcript.check(result).message["content"] == "".join(texts)
        for each in (reader, elsewhere, replica, ledger):
            await each.close()
