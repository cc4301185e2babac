"""The asyncio pool, in real worker processes: what runs, what is told, what is left behind, and what is never shown."""

from __future__ import annotations

import contextlib
import json
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from celery.exceptions import QueueNotFound
from crashing_server import kill_server
from pool_stack import Events, Stack, until
from pool_tasks import CANARY

from headrace.broker import hints
from headrace.broker.queue import queue_key
from headrace.local.valkey import EmbeddedServer


@pytest.fixture
def valkey(own_valkey: Callable[..., EmbeddedServer]) -> EmbeddedServer:
    return own_valkey()


@pytest.fixture
def stacks(valkey: EmbeddedServer, tmp_path: Path) -> Iterator[Callable[[str], Stack]]:
    with contextlib.ExitStack() as exits:

        def make(namespace: str) -> Stack:
            stack = Stack(valkey.url, namespace, tmp_path)
            exits.callback(stack.close)
            return stack

        yield make


@pytest.fixture
def stack(stacks: Callable[[str], Stack], namespace: str) -> Stack:
    return stacks(namespace)


@pytest.fixture
def watch() -> Iterator[Callable[[Stack], Events]]:
    with contextlib.ExitStack() as exits:

        def make(stack: Stack) -> Events:
            before = stack.redis.pubsub_numpat()
            events = Events(stack.app)
            exits.callback(events.close)
            until(lambda: stack.redis.pubsub_numpat() > before, what="the subscription to events")
            return events

        yield make


def test_200_tasks_run_at_once(stack: Stack) -> None:
    stack.worker()
    with stack.app.producer_pool.acquire(block=True) as producer, producer.batch():
        for number in range(200):
            stack.send("t.sleep", 5, f"{number}", producer=producer)
    until(lambda: stack.queued == 0 and stack.unacked == 0 and sum(stack.marks().values()) == 400)
    kinds = [word.partition(" ")[0] for word in stack.words()]
    assert kinds == ["began"] * 200 + ["ended"] * 200, "all had begun before the first one ended"


def test_a_slot_is_free_as_soon_as_its_task_has_ended(stack: Stack) -> None:
    with stack.app.producer_pool.acquire(block=True) as producer, producer.batch():
        for number in range(30):
            stack.send("t.sleep", 0, "last" if number == 29 else "", producer=producer)
    stack.worker("--concurrency", "1")
    first = time.monotonic()
    until(lambda: stack.marks()["ended last"])
    until(lambda: stack.unacked == 0)
    assert time.monotonic() - first < 10, "a second for each is what looking now and then would take"


def test_every_event_arrives_and_answers_are_none(stack: Stack, watch: Callable[[Stack], Events]) -> None:
    stack.worker()
    events = watch(stack)
    for _ in range(50):
        stack.send("t.sleep", 0)
    for _ in range(3):
        stack.send("t.fail", "value")
    endless = stack.send("t.sleep", 1000, "endless")
    until(lambda: stack.marks()["began endless"])
    stack.app.control.revoke(endless, terminate=True)
    expected = {"task-received": 54, "task-started": 54, "task-succeeded": 50, "task-failed": 3, "task-revoked": 1}
    until(lambda: events.count() == expected, what=f"{expected}, not {events.count()}")
    until(lambda: stack.marks()["cancelled endless"])
    assert {event["result"] for event in events.of("task-succeeded")} == {"None"}
    assert {event["exception"] for event in events.of("task-failed")} == {"TaskFailed('ValueError')"}
    assert all("pool_tasks.py" in event["traceback"] for event in events.of("task-failed"))
    until(lambda: stack.unacked == 0)


@pytest.mark.parametrize("task", ["t.fail", "t.fail_plain", "t.fail_child"])
def test_no_exception_stops_the_worker_or_keeps_a_slot(
    stack: Stack, watch: Callable[[Stack], Events], task: str
) -> None:
    worker = stack.worker("--concurrency", "2")
    events = watch(stack)
    kinds = ["systemexit", "keyboard", "memory", "cancelled", "generatorexit", "stopiteration", "nasty", "group"]
    for kind in [*kinds, "unnameable", "value"]:
        for _ in range(2):
            stack.send(task, kind)
    for number in range(4):
        stack.send("t.sleep", 0.01, f"good {number}")
        stack.send("t.plain", f"plain {number}")
    until(lambda: sum(n for word, n in stack.marks().items() if word.startswith("ended")) == 8)
    until(lambda: stack.unacked == 0 and stack.queued == 0)
    failed = 0 if task == "t.fail_child" else 20  # what a task's own task raises is not the task's outcome
    until(lambda: events.count()["task-succeeded"] == 28 - failed)
    until(lambda: events.count()["task-failed"] == failed)
    assert worker.process.poll() is None
    assert worker.stop() == 0
    assert CANARY not in worker.log


def test_revoke_with_terminate_cancels_the_coroutine(stack: Stack) -> None:
    stack.worker("--concurrency", "1")
    first = stack.send("t.sleep", 1000, "first")
    until(lambda: stack.marks()["began first"])
    waiting = stack.send("t.sleep", 0, "waiting")
    second = stack.send("t.swallows")
    stack.app.control.revoke(waiting)
    stack.app.control.revoke(first, terminate=True)
    until(lambda: stack.marks()["cancelled first"])
    until(lambda: stack.unacked == 1 and stack.queued == 0)
    stack.app.control.revoke(second, terminate=True)
    until(lambda: stack.marks()["swallowed"])
    until(lambda: stack.unacked == 0)
    stack.send("t.sleep", 0, "last")
    until(lambda: stack.marks()["ended last"])
    assert not stack.marks()["began waiting"]


def test_sigterm_finishes_what_runs_and_leaves_nothing_unacked(stack: Stack, watch: Callable[[Stack], Events]) -> None:
    worker = stack.worker(POOL_TASKS_SERVICE="works")
    events = watch(stack)
    for number in range(20):
        stack.send("t.sleep", 1.5 + number * 0.1, f"{number}")
    until(lambda: stack.unacked == 20)
    worker.process.send_signal(signal.SIGTERM)
    until(lambda: stack.marks()["service draining"])
    for _ in range(5):
        stack.send("t.sleep", 0, "too late")
    # Finished tasks are acknowledged while others still run, and the worker is still there for Flower.
    until(lambda: stack.marks()["ended 2"])
    until(lambda: 0 < stack.unacked <= 18)
    assert stack.app.control.inspect(timeout=2, limit=1).ping()
    assert not events.of("worker-offline")
    assert worker.process.wait(15) == 0
    assert (stack.queued, stack.unacked) == (5, 0)
    assert sum(n for word, n in stack.marks().items() if word.startswith("ended")) == 20
    assert stack.marks()["service stopped"] == 1
    until(lambda: events.count()["task-succeeded"] == 20)
    until(lambda: events.of("worker-offline"))
    assert events.count()["task-received"] == events.count()["task-started"] == 20


def test_at_the_deadline_of_the_drain_hints_go_back(stack: Stack) -> None:
    worker = stack.worker(HEADRACE_DRAIN_S="0.5")
    for number in range(3):
        stack.send("t.sleep", 1000, f"long {number}")
    stack.send("t.sleep", 0.3, "short")
    stack.send("t.swallows")  # hands its record back and returns: its hint is used up
    until(lambda: stack.unacked == 5)
    began = time.monotonic()
    assert worker.stop() == 0
    assert 0.5 <= time.monotonic() - began < 20, "not what is left of the tasks"
    assert (stack.queued, stack.unacked) == (3, 0)
    marks = stack.marks()
    assert marks["ended short"] == 1
    assert marks["swallowed"] == 1
    assert [marks[f"cancelled long {number}"] for number in range(3)] == [1, 1, 1]
    stack.worker()
    until(lambda: stack.marks()["began long 2"] == 2)


@pytest.mark.slow
def test_a_task_that_is_deaf_to_cancellation_does_not_hold_the_worker(stack: Stack) -> None:
    worker = stack.worker(HEADRACE_DRAIN_S="0.1")
    stack.send("t.deaf")
    until(lambda: stack.marks()["began deaf"])
    assert worker.stop(timeout_s=9.5) == 0
    assert (stack.queued, stack.unacked) == (1, 0)


@pytest.mark.slow
def test_a_service_that_does_not_stop_does_not_hold_the_worker(stack: Stack) -> None:
    worker = stack.worker(POOL_TASKS_SERVICE="stuck")
    stack.send("t.sleep", 1, "last")
    until(lambda: stack.marks()["began last"])
    worker.process.send_signal(signal.SIGTERM)
    until(lambda: stack.marks()["service stopped"])
    assert worker.process.poll() is None
    assert stack.unacked == 0  # acknowledged before the service's stop, which may take its time
    assert worker.process.wait(9.5) == 0


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGQUIT])
def test_a_second_signal_hands_back_at_once(stack: Stack, second: signal.Signals) -> None:
    worker = stack.worker(HEADRACE_DRAIN_S="1000", POOL_TASKS_SERVICE="works")
    for number in range(3):
        stack.send("t.sleep", 1000, f"{number}")
    until(lambda: sum(stack.marks()[f"began {number}"] for number in range(3)) == 3)
    worker.process.send_signal(signal.SIGTERM)
    until(lambda: stack.marks()["service draining"])
    worker.stop(second, timeout_s=8)
    assert (stack.queued, stack.unacked) == (3, 0)
    assert sum(stack.marks()[f"cancelled {number}"] for number in range(3)) == 3
    assert stack.marks()["service stopped"] == 1


def test_a_cold_signal_alone_hands_back_at_once(stack: Stack) -> None:
    worker = stack.worker(HEADRACE_DRAIN_S="1000", POOL_TASKS_SERVICE="works")
    stack.send("t.sleep", 1000, "long")
    until(lambda: stack.marks()["began long"])
    worker.stop(signal.SIGQUIT, timeout_s=8)
    assert (stack.queued, stack.unacked) == (1, 0)
    assert stack.marks()["service stopped"] == 1


def test_messages_of_the_wrong_shape_are_dropped_without_quoting_them(stack: Stack) -> None:
    worker = stack.worker("--concurrency", "2")
    stack.send("t.unknown", CANARY)
    stack.app.send_task("t.sleep", kwargs={CANARY: CANARY}, queue="interactive", argsrepr="()", kwargsrepr="{}")
    good = {"lang": "py", "task": "t.sleep", "id": "x", "argsrepr": "()", "kwargsrepr": "{}"}
    with stack.app.producer_pool.acquire(block=True) as producer:

        def publish(body: Any, headers: dict[str, Any], **options: Any) -> None:
            producer.publish(body, exchange="", routing_key="interactive", headers=headers, **options)

        publish(CANARY, good, serializer="json")
        publish([CANARY], good, serializer="json")
        publish([[CANARY], {}], good, serializer="json")
        publish(5, good, serializer="json")
        publish([[0], {}, {}], {"task": "t.sleep", "note": CANARY}, serializer="json")
        publish([[0], {}, {}], good | {"task": [CANARY]}, serializer="json")
        publish([[0], {}, {}], good | {"task": {"a": CANARY}}, serializer="json")
        publish([[0], {}, {}], good | {"eta": CANARY}, serializer="json")
        publish([[0], {}, {}], good | {"expires": CANARY}, serializer="json")
        publish(CANARY, {}, serializer="json")
        publish({"args": CANARY, "task": "t.sleep", "id": "y"}, {}, serializer="json")
        publish({"task": CANARY}, {}, serializer="json")
        publish([[0], {}, {}], good, serializer="pickle")
        publish(CANARY.encode(), good, content_type="application/json", content_encoding="utf-8")
        publish(CANARY.encode(), {}, content_type="application/json", content_encoding="utf-8")
        publish(CANARY.encode(), good, content_type="application/x-unknown", content_encoding="binary")
        publish(b"\xff\xfe" + CANARY.encode(), good, content_type="application/json", content_encoding="utf-8")
    for rubbish in (CANARY, f'"{CANARY}"', "5", f'{{"a": "{CANARY}"}}', f'{{"body": "{CANARY}", "properties": {{}}}}'):
        stack.redis.lpush(queue_key(stack.namespace, "interactive"), rubbish)
    for number in range(3):
        stack.send("t.sleep", 0, f"good {number}")
    until(lambda: sum(stack.marks()[f"ended good {number}"] for number in range(3)) == 3, what="the good ones")
    until(lambda: stack.unacked == 0 and stack.queued == 0)
    assert worker.process.poll() is None
    assert "unregistered task" in worker.log
    assert worker.stop() == 0
    assert CANARY not in worker.log


def test_no_text_of_a_task_is_in_events_log_or_inspect(stack: Stack, watch: Callable[[Stack], Events]) -> None:
    worker = stack.worker(HEADRACE_LOG_LEVEL="debug")
    events = watch(stack)
    for kind in ("value", "nasty", "group", "unnameable", "systemexit"):
        stack.send("t.fail", kind)
        stack.send("t.fail_plain", kind)
        stack.send("t.fail_child", kind)
    stack.send("t.sleep", 0)
    stack.send("t.sleep", 1000, "running")
    until(lambda: events.count()["task-failed"] == 10)
    until(lambda: events.count()["task-succeeded"] == 6)
    inspect = stack.app.control.inspect(timeout=2, limit=1)
    shown = [inspect.active(), inspect.reserved(), inspect.stats(), inspect.conf(), inspect.report()]
    assert all(shown)
    assert CANARY not in repr(shown)
    assert CANARY not in repr(events.seen)
    worker.stop(signal.SIGQUIT)
    assert "kind=ValueError" in worker.log
    assert CANARY not in worker.log


def test_a_queue_that_does_not_exist_is_an_error(stack: Stack) -> None:
    with pytest.raises(ValueError, match="interactiv"):
        hints.Hints(stack.namespace).envelope("interactiv", "job_1")
    with pytest.raises(QueueNotFound):
        stack.send("t.sleep", 0, queue="interactiv")
    assert stack.redis.keys("*interactiv") == []


def test_namespaces_of_one_server_do_not_meet(stacks: Callable[[str], Stack], watch: Callable[[Stack], Events]) -> None:
    one, two = stacks("one"), stacks("two")
    worker = one.worker("--name", "first@here")
    two.worker("--name", "second@here")
    seen_one, seen_two = watch(one), watch(two)
    one.send("t.sleep", 0, "of one")
    two.send("t.sleep", 0, "of two")
    two.send("t.sleep", 0, "of two")
    until(lambda: seen_one.count()["task-succeeded"] >= 1 and seen_two.count()["task-succeeded"] >= 2)
    until(lambda: any(e["type"] == "worker-heartbeat" for e in seen_one.seen))
    assert {event["hostname"] for event in seen_one.seen} == {"first@here"}
    assert {event["hostname"] for event in seen_two.seen} == {"second@here"}
    assert one.marks() == {"began of one": 1, "ended of one": 1}
    assert list(one.app.control.inspect(timeout=1).ping() or {}) == ["first@here"]
    assert list(two.app.control.inspect(timeout=1).ping() or {}) == ["second@here"]
    two.app.control.shutdown()
    until(lambda: two.workers[0].process.poll() is not None)
    assert worker.process.poll() is None
    assert worker.stop() == 0


@pytest.mark.parametrize(("how", "code", "says"), [("fails", 1, "ValueError"), ("unreachable", 3, "the store is not")])
def test_a_service_that_cannot_start_ends_the_worker(stack: Stack, how: str, code: int, says: str) -> None:
    worker = stack.launch(POOL_TASKS_SERVICE=how)
    assert worker.process.wait(20) == code
    assert says in worker.log
    assert CANARY not in worker.log
    assert not worker.ready.exists()


def test_sigterm_while_the_service_starts(stack: Stack) -> None:
    worker = stack.launch(POOL_TASKS_SERVICE="hangs")
    until(
        lambda: (
            "SigCgt" in (status := Path(f"/proc/{worker.process.pid}/status").read_text())
            and int(status.split("SigCgt:")[1].split()[0], 16) >> (signal.SIGTERM - 1) & 1
        )
    )
    assert worker.stop() == 0


def test_the_ready_file_names_process_and_role(stack: Stack) -> None:
    worker = stack.worker(role="bulk")
    assert json.loads(worker.ready.read_text()) == {"pid": worker.process.pid, "role": "bulk"}
    assert "ready role=bulk" in worker.log
    assert worker.stop() == 0


@pytest.mark.slow
def test_exit_codes_of_bad_settings_and_of_a_missing_redis(stack: Stack, tmp_path: Path) -> None:
    nowhere = f"unix://{tmp_path}/nothing"
    bad = stack.launch(HEADRACE_DRAIN_S="soon")
    level = stack.launch(HEADRACE_LOG_LEVEL="loud")
    missing = stack.launch(HEADRACE_REDIS_URL=nowhere)
    assert bad.process.wait(20) == 2
    assert "HEADRACE_DRAIN_S" in bad.log
    assert level.process.wait(20) == 2
    assert missing.process.wait(25) == 3
    assert nowhere in missing.log
    assert "headrace up" in missing.log


def test_the_worker_survives_a_restart_of_redis(stack: Stack, valkey: EmbeddedServer) -> None:
    worker = stack.worker()
    stack.send("t.sleep", 1.5, "over the restart")
    until(lambda: stack.marks()["began over the restart"])
    kill_server(valkey)
    valkey.start()
    until(lambda: stack.marks()["ended over the restart"] >= 1)
    stack.send("t.sleep", 0, "afterwards")
    until(lambda: stack.marks()["ended afterwards"] >= 1, 20)
    assert worker.process.poll() is None
    assert worker.stop() == 0
    assert "connecting anew" not in worker.log


def test_sigterm_while_redis_is_away(stack: Stack, valkey: EmbeddedServer) -> None:
    worker = stack.worker(HEADRACE_DRAIN_S="5", POOL_TASKS_SERVICE="works")
    stack.send("t.sleep", 1000)
    until(lambda: stack.unacked == 1)
    kill_server(valkey)
    until(lambda: "Cannot connect" in worker.log)
    worker.process.send_signal(signal.SIGTERM)
    until(lambda: "draining" in worker.log)
    assert worker.stop() == 0
    valkey.start()
