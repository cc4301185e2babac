"""A log whose reader was there first (`Reader.expect`): nothing is missed, and nothing is read that the messages told."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable

import pytest
from written_logs import end, holds, ids

from headrace.events.reader import Reader, Viewer
from headrace.jobs.job import new_id
from headrace.ledger.claim import claim
from headrace.ledger.script import Ledger
from headrace.ledger.submit import submit
from headrace.local.valkey import EmbeddedServer


@pytest.fixture
def server(own_valkey: Callable[..., EmbeddedServer]) -> EmbeddedServer:
    return own_valkey()


@pytest.fixture
async def ledger(server: EmbeddedServer, namespace: str) -> AsyncIterator[Ledger]:
    ledger = Ledger.at(server.url, namespace)
    yield ledger
    await ledger.close()


async def whole_job(ledger: Ledger, job_id: str) -> None:
    await submit(ledger, job_id, b"{}", queue="interactive")
    await end(ledger, job_id, (await claim(ledger, job_id, token="t", owner="w", queue="interactive")).epoch, 2)


def meanwhile(server: EmbeddedServer, namespace: str, job_id: str) -> None:
    """The whole job, while the loop of the reader stands still."""

    async def run() -> None:
        ledger = Ledger.at(server.url, namespace)
        await whole_job(ledger, job_id)
        await ledger.close()

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    thread.join()


async def confirmed(ledger: Ledger, job_id: str) -> None:
    channel = ledger.keys.channel(ledger.keys.job(job_id))

    async def is_told() -> bool:
        return bool(dict(await ledger.client.pubsub_numsub(channel))[channel.encode()])

    await holds(is_told)
    for _ in range(20):  # what the server said before has been read by then
        await ledger.ping()


async def follow(ledger: Ledger, reader: Reader) -> None:
    """A chat as the gateway makes one."""
    job_id = new_id("job")
    with reader.expect(ledger.keys.job(job_id)) as viewer:
        await viewer.creating()
        await confirmed(ledger, job_id)
        await whole_job(ledger, job_id)
        viewer.created()
        await all_of(viewer)


async def all_of(viewer: Viewer) -> None:
    async with asyncio.timeout(0.8):  # the look at the record, after a second, would find an end that was missed
        assert [id.seq for id in await ids(viewer)] == [1, 2]


@pytest.mark.parametrize("link", ["none yet", "broken"])
async def test_what_is_published_before_the_subscription_reaches_the_server_is_read(
    server: EmbeddedServer, ledger: Ledger, reader: Reader, link: str
) -> None:
    if link == "broken":
        await follow(ledger, reader)
        async with asyncio.timeout(5):
            await ledger.client.client_kill_filter(_type="pubsub")
    job_id = new_id("job")
    viewer = reader.expect(ledger.keys.job(job_id))
    await viewer.creating()
    meanwhile(server, ledger.namespace, job_id)
    await confirmed(ledger, job_id)
    viewer.created()  # the answer to the submission is seen after the confirmation
    await all_of(viewer)


async def test_logs_one_after_the_other_take_one_connection_and_no_read(ledger: Ledger, reader: Reader) -> None:
    await follow(ledger, reader)
    await ledger.client.config_resetstat()
    for _ in range(10):
        await follow(ledger, reader)
        assert reader.held() == {"rooms": 0, "ring_bytes": 0}
    assert (await ledger.client.info("stats"))["total_connections_received"] == 0
    assert "cmdstat_xrange" not in await ledger.client.info("commandstats")
