"""A ledger of each test's own, on Valkey and on fakeredis; afterwards every key left must have a lifetime or be permanent.

Time is steered, never awaited: a lease of `EXPIRED` has run out at once, one of `LONG` never does, and `look.hurry()`
makes everything due.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import fakeredis
import pytest

from headrace.jobs.job import new_id
from headrace.ledger.checkpoint import CheckpointRow, checkpoint
from headrace.ledger.claim import Claimed, claim
from headrace.ledger.create_batch import create_batch
from headrace.ledger.creation import Creation
from headrace.ledger.feed import feed
from headrace.ledger.finish_shard import finish_shard
from headrace.ledger.keys import permanent
from headrace.ledger.open import open_batch
from headrace.ledger.recover import recover
from headrace.ledger.script import Ledger
from headrace.ledger.seal import seal
from headrace.ledger.shard_range import ShardRange
from headrace.ledger.submit import submit

EXPIRED, LONG = -1, 10**9
LIVE_UNTIL_THE_END = ("job:", "batch:", "shard:")


@pytest.fixture(params=["valkey", "fakeredis"])
async def ledger(request: pytest.FixtureRequest, valkey_url: str, namespace: str) -> AsyncIterator[Ledger]:
    on_valkey = request.param == "valkey"
    ledger = Ledger.at(valkey_url, namespace) if on_valkey else Ledger(fakeredis.FakeAsyncRedis(), namespace)
    yield ledger
    await check_lifetimes(ledger)
    await ledger.close()


async def check_lifetimes(ledger: Ledger) -> None:
    """No key may stay for ever by accident: what has ended has a lifetime, the rest is declared permanent or is alive."""
    async for raw in ledger.client.scan_iter(f"{ledger.keys.prefix}:*"):
        key = raw.decode()
        if await ledger.client.pttl(key) >= 0 or permanent(key):
            continue
        name = key.partition("}:")[2]
        record = ledger.keys.prefix + ":" + ":".join(name.split(":")[:2])
        state = await ledger.client.hget(record, "state")
        alive = name.startswith(LIVE_UNTIL_THE_END) and state in {
            b"queued",
            b"running",
            b"parked",
            b"validating",
            b"in_progress",
            b"paused",
            b"cancelling",
            b"finalizing",
        }
        # The parts of a batch lie beside it, under the batch's own name.
        assert alive, f"{key} would stay for ever (its record is {state})"


class Look:
    """What the ledger has, read past its moves."""

    def __init__(self, ledger: Ledger):
        self.ledger = ledger
        self.client = ledger.client

    def key(self, record_id: str) -> str:
        is_batch = record_id.startswith("batch_") and "." not in record_id
        return self.ledger.keys.batch(record_id) if is_batch else self.ledger.keys.record(record_id)

    async def record(self, record_id: str) -> dict[str, str]:
        stored = await self.client.hgetall(self.key(record_id))
        return {name.decode(): value.decode() for name, value in stored.items()}

    async def field(self, record_id: str, name: str) -> str | None:
        return (await self.record(record_id)).get(name)

    async def state(self, record_id: str) -> str | None:
        return await self.field(record_id, "state")

    async def log(self, record_id: str) -> list[tuple[str, bytes]]:
        entries = await self.client.xrange(f"{self.key(record_id)}:log")
        return [(number.decode(), event[b"d"]) for number, event in entries]

    async def due(self) -> set[str]:
        return {member.decode() for member in await self.client.zrange(self.ledger.keys.due, 0, -1)}

    async def leased(self) -> set[str]:
        return {member.decode() for member in await self.client.zrange(self.ledger.keys.leases, 0, -1)}

    async def held(self) -> int:
        return int(await self.client.get(self.ledger.keys.held) or 0)

    async def hurry(self) -> None:
        """Everything that waits has waited long enough."""
        for member in await self.client.zrange(self.ledger.keys.due, 0, -1):
            await self.client.zadd(self.ledger.keys.due, {member: 0})

    async def everything(self) -> dict[str, Any]:
        """Every key with its content, but for what the clock alone moves: scores, lease ends, and a batch's reports of its
        progress (another one when 250 ms have passed)."""
        found: dict[str, Any] = {}
        async for raw in self.client.scan_iter(f"{self.ledger.keys.prefix}:*"):
            kind = (await self.client.type(raw)).decode()
            if kind == "hash":
                content = await self.client.hgetall(raw)
                content.pop(b"lease", None)
                if b":batch:" in raw:
                    content = {name: value for name, value in content.items() if name not in (b"reported", b"seq")}
            elif kind == "zset":
                content = set(await self.client.zrange(raw, 0, -1))
            elif kind == "stream":
                entries = await self.client.xrange(raw)
                content = [entry for entry in entries if b'"t":"batch.progress"' not in entry[1].get(b"d", b"")]
            elif kind == "list":
                content = await self.client.lrange(raw, 0, -1)
            else:
                content = await self.client.get(raw)
            found[raw.decode()] = (kind, content)
        return found


Take = Callable[..., Awaitable[Claimed]]


@pytest.fixture
def look(ledger: Ledger) -> Look:
    return Look(ledger)


@pytest.fixture
def take(ledger: Ledger, look: Look) -> Take:
    """Claim a record from the queue on which it waits, for ever unless told otherwise."""

    async def take(record_id: str, *, token: str = "t1", owner: str = "w1", lease_ms: int = LONG) -> Claimed:
        queue = await look.field(record_id, "queue") or "bulk"
        return await claim(ledger, record_id, token=token, owner=owner, queue=queue, lease_ms=lease_ms)

    return take


@pytest.fixture
async def job(ledger: Ledger) -> str:
    """A job that is queued on `interactive`."""
    return await submit(ledger, new_id("job"), b'{"v":1}', queue="interactive")


@pytest.fixture
async def attempt(take: Take, job: str) -> Claimed:
    """The running attempt at `job`."""
    return await take(job)


@pytest.fixture
async def zombie(ledger: Ledger, take: Take, job: str) -> Claimed:
    """An attempt at `job` whose lease ran out, and after which another worker began."""
    old = await take(job, lease_ms=EXPIRED)
    await recover(ledger)
    await take(job, token="t2", owner="w2")
    return old


@pytest.fixture
async def batch(ledger: Ledger) -> str:
    """A batch of two shards with two items each; both are fed to `bulk`."""
    batch_id = new_id("batch")
    await open_batch(
        ledger,
        batch_id,
        template_sha="sha",
        template=b"{}",
        window_ms=LONG,
        tenant="default",
        record={"total": 4, "shards": 2, "input": "in.jsonl"},
    )
    await feed(ledger, batch_id, 0, [ShardRange(0, 2, 0, 10), ShardRange(2, 2, 10, 10)], queue="bulk")
    return batch_id


@pytest.fixture
async def shard(take: Take, batch: str) -> Claimed:
    """The running attempt at the first shard of `batch`."""
    return await take(f"{batch}.s0")


@pytest.fixture
async def zombie_shard(ledger: Ledger, take: Take, batch: str) -> Claimed:
    """An attempt at the first shard whose lease ran out, and after which another worker began."""
    old = await take(f"{batch}.s0", lease_ms=EXPIRED)
    await recover(ledger)
    await take(f"{batch}.s0", token="t2", owner="w2")
    return old


@pytest.fixture
async def join(ledger: Ledger, take: Take, batch: str) -> Claimed:
    """The running join of `batch`, whose two shards are finished."""
    for number in range(2):
        attempt = await take(f"{batch}.s{number}")
        rows = [CheckpointRow(0, "s", b"a", {"output_tokens": 3}), CheckpointRow(1, "f", b"b")]
        await checkpoint(ledger, attempt.record_id, attempt.epoch, rows)
        await finish_shard(ledger, attempt.record_id, attempt.epoch, f"part{number}")
    await seal(ledger, batch, queue="bulk")
    return await take(f"{batch}.join")


@pytest.fixture
def made(ledger: Ledger) -> Callable[..., Awaitable[str]]:
    """Create a batch over an uploaded file; its check waits on `bulk`."""

    async def made(creation: Creation | None = None, batch_id: str | None = None) -> str:
        return await create_batch(
            ledger,
            batch_id or new_id("batch"),
            template_sha="sha",
            template=b"{}",
            window_ms=10**9,
            tenant="default",
            creation=creation or Creation("d"),
            record={"tenant": "default"},
        )

    return made
