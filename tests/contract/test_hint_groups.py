"""What a worker tells the broker in groups: the hints it took and acknowledged, and the events of its tasks."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pool_stack import Events, Stack, Worker, until

from headrace.local.valkey import EmbeddedServer

TASKS = 200


@pytest.fixture
def valkey(own_valkey: Callable[..., EmbeddedServer]) -> EmbeddedServer:
    return own_valkey()


@pytest.fixture
def stack(valkey: EmbeddedServer, tmp_path: Path, namespace: str) -> Iterator[Stack]:
    with contextlib.closing(Stack(valkey.url, namespace, tmp_path)) as stack:
        yield stack


@pytest.fixture
def events(stack: Stack) -> Iterator[Events]:
    with contextlib.closing(Events(stack.app)) as events:
        until(stack.redis.pubsub_numpat, what="the subscription to events")
        yield events


class Links:
    """The links of workers to the broker: those that were opened after this."""

    def __init__(self, stack: Stack):
        self._stack = stack
        self._others = self._ids()

    def _ids(self) -> set[str]:
        return {row["id"] for row in self._stack.redis.client_list()}

    def cut(self) -> int:
        return sum(self._stack.redis.client_kill_filter(_id=one) for one in self._ids() - self._others)


def run_many(stack: Stack, word: str, seconds: float = 0.0) -> None:
    with stack.app.producer_pool.acquire(block=True) as producer, producer.batch():
        for _ in range(TASKS):
            stack.send("t.sleep", seconds, word, producer=producer)


def listed(stack: Stack) -> int:
    """How many hints have been written into the broker's list of unacknowledged ones."""
    return stack.redis.info("commandstats").get("cmdstat_hset", {"calls": 0})["calls"]


def over_a_cut(stack: Stack, links: Links, worker: Worker) -> None:
    assert links.cut() > 0
    until(lambda: "Connection to broker lost" in worker.log)
    stack.send("t.sleep", 0, "after the cut")
    until(lambda: stack.marks()["ended after the cut"])


def test_hints_are_acknowledged_in_groups_after_a_link_broke(stack: Stack) -> None:
    links = Links(stack)
    worker = stack.worker()
    run_many(stack, "")
    until(lambda: stack.queued == 0 and stack.unacked == 0)
    over_a_cut(stack, links, worker)
    before = listed(stack)
    run_many(stack, "")
    stack.send("t.sleep", 0, "last")
    until(lambda: stack.marks()["ended last"] and stack.queued == 0 and stack.unacked == 0)
    assert listed(stack) - before < TASKS // 2, "each of them was written there, and taken away again"


def test_events_that_were_not_sent_yet_are_sent_after_a_link_broke(stack: Stack, events: Events) -> None:
    links = Links(stack)
    worker = stack.worker()
    run_many(stack, "word")
    until(lambda: stack.marks()["ended word"] == TASKS)
    over_a_cut(stack, links, worker)
    # Hints that were not acknowledged yet come once more.
    until(lambda: len({event["uuid"] for event in events.of("task-succeeded")}) == TASKS + 1, what="all succeeded")


def test_acknowledgements_that_the_broker_refused_are_sent_again(stack: Stack, events: Events) -> None:
    worker = stack.worker()
    stack.send("t.sleep", 1.0)
    until(lambda: stack.unacked == 1)
    stack.send("t.sleep", 1.5)
    stack.redis.config_set("maxmemory", "1mb")  # it is taken, and cannot be listed
    until(lambda: events.count()["task-succeeded"] == 2)
    stack.redis.config_set("maxmemory", "0")
    until(lambda: stack.unacked == 0, what="acknowledged, though nothing else comes")
    assert worker.process.poll() is None
