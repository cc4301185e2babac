"""What a chat, a streamed chunk and a bulk item cost in commands, round trips, bytes, connections and messages: counted, so
that it holds on any machine.

Chats come one after the other, and chunks slowly: nothing is grouped with another's, which is the most that they cost. A busy
machine groups more, or has more of what comes by the clock, which is not counted.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator

import pytest

from bench.redis_meter import CELERY, Traffic
from bench.redis_traffic import Service, service

CHATS, CHUNKS, ITEMS = 120, 150, 3000
OF_A_CHAT = ("submit", "LPUSH", "BRPOP", "claim", "finish", "SUBSCRIBE", "GET", "UNSUBSCRIBE", "unread")
"""Each once: the job and its hint in one round trip; the hint's way to the worker; the worker's two moves; the gateway's wait for
the end, the result, and that it was delivered."""
BY_THE_CLOCK_A_SECOND = 10
OF_A_CONNECTION = {"PING": 1, "HELLO": 1, "CLIENT": 3}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with service(tmp_path_factory.mktemp("service")) as running:
        yield running


@pytest.fixture(scope="module")
def chats(running: Service) -> tuple[Traffic, float]:
    """The traffic of `CHATS` chats, and the seconds that they took."""
    running.provider.take()
    began = time.monotonic()
    return running.chats(CHATS), time.monotonic() - began


@pytest.fixture(scope="module")
def batch(running: Service) -> Traffic:
    """The traffic of a batch of `ITEMS` items."""
    running.provider.take()
    return running.extracted(ITEMS)


def others(traffic: Traffic, *known: str) -> Counter[str]:
    """The commands that are neither `known` nor Celery's groups."""
    return Counter({name: count for name, count in traffic.commands.items() if name not in {*known, *CELERY}})


def comes_by_the_clock(traffic: Traffic, seconds: float, count: int) -> None:
    for name, times in traffic.background.items():
        of_connections = OF_A_CONNECTION.get(name, 0) * traffic.connections
        assert times <= 0.5 * count + BY_THE_CLOCK_A_SECOND * seconds + of_connections, name


def test_a_chat_sends_each_of_its_commands_once(chats: tuple[Traffic, float]) -> None:
    traffic, _ = chats
    for name in OF_A_CHAT:
        assert traffic.commands[name] <= 1.1 * CHATS, name
    # The log is read on when the subscription came late, and again when a message came before that: a race.
    assert traffic.commands["XRANGE"] <= 2.2 * CHATS
    rest = others(traffic, *OF_A_CHAT, "XRANGE")
    assert rest.total() <= 0.2 * CHATS, rest


def test_a_chat_goes_to_redis_seven_times_beside_its_reads_of_the_log(chats: tuple[Traffic, float]) -> None:
    traffic, seconds = chats
    trips = traffic.round_trips - traffic.commands["XRANGE"]
    assert trips <= 7.5 * CHATS + BY_THE_CLOCK_A_SECOND * seconds, traffic.commands


def test_a_chat_sends_redis_few_bytes(chats: tuple[Traffic, float]) -> None:
    traffic, _ = chats
    assert traffic.bytes <= 6200 * CHATS


def test_what_comes_by_the_clock_does_not_come_with_a_chat(chats: tuple[Traffic, float]) -> None:
    comes_by_the_clock(*chats, CHATS)


def test_a_chat_is_one_hint_and_the_rest_of_celery_goes_in_groups(chats: tuple[Traffic, float]) -> None:
    traffic, seconds = chats
    assert CHATS <= traffic.hints <= 1.1 * CHATS
    for name in ("PUBLISH", "MULTI"):
        assert traffic.commands[name] <= 0.2 * CHATS + BY_THE_CLOCK_A_SECOND * seconds, name


def test_chats_one_after_the_other_share_connections_to_redis(chats: tuple[Traffic, float]) -> None:
    """The gateway's listener, too, which is kept for a while after the last who waits."""
    traffic, _ = chats
    assert traffic.connections <= 0.2 * CHATS


def test_calls_share_connections_to_the_provider(running: Service) -> None:
    running.provider.take()
    running.chats(40)
    connections, calls = running.provider.take()
    assert calls == 40
    assert connections <= 4


def test_a_streamed_chunk_is_one_append(running: Service) -> None:
    began = time.monotonic()
    traffic, frames = running.streamed(CHUNKS)
    comes_by_the_clock(traffic, time.monotonic() - began, CHUNKS)
    assert frames >= CHUNKS / 2, "the chunks were not shown one by one"
    assert traffic.commands["append"] <= 1.1 * CHUNKS
    rest = others(traffic, "append")
    assert rest.total() <= 0.3 * CHUNKS, rest
    assert traffic.round_trips <= 1.4 * CHUNKS
    assert traffic.bytes <= 560 * CHUNKS


def test_a_bulk_item_is_a_part_of_a_command(batch: Traffic) -> None:
    assert others(batch).total() <= 0.4 * ITEMS, batch.commands
    assert batch.round_trips <= 0.4 * ITEMS
    assert sum(batch.commands[name] for name in CELERY) <= 0.4 * ITEMS, batch.commands


def test_a_bulk_item_sends_redis_little_beyond_its_row(batch: Traffic) -> None:
    assert batch.bytes <= 950 * ITEMS


def test_a_shard_is_one_hint(batch: Traffic) -> None:
    shards = -(-ITEMS // 64)
    assert shards + 1 <= batch.hints <= 1.2 * (shards + 1)


def test_items_share_connections_to_the_provider(running: Service) -> None:
    running.provider.take()
    running.extracted(ITEMS)
    connections, calls = running.provider.take()
    assert calls == ITEMS
    assert connections <= 0.2 * ITEMS
