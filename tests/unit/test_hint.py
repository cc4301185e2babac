"""Hints: names, settings, and publishing to a real Valkey."""

from __future__ import annotations

import base64
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from headrace import hint
from headrace.embedded import EmbeddedServer
from headrace.errors import SettingsError, Unreachable


@pytest.fixture
def hints(valkey_url: str, namespace: str) -> Iterator[hint.Hints]:
    hints = hint.Hints(valkey_url, namespace)
    yield hints
    hints.close()


@pytest.fixture
def client(valkey_url: str) -> Iterator[redis.Redis]:
    client = redis.Redis.from_url(valkey_url, decode_responses=True)
    yield client
    client.close()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("unix:///tmp/x/s?db=1", "redis+socket:///tmp/x/s?virtual_host=1"),
        ("unix:///tmp/x/s", "redis+socket:///tmp/x/s"),
        ("redis://h:6379/2", "redis://h:6379/2"),
        ("redis://:secret@h:6379", "redis://:secret@h:6379"),
        ("redis://h:6379?db=3", "redis://h:6379/3"),
        ("rediss://u:p@h/0", "rediss://u:p@h/0"),
    ],
)
def test_a_broker_url_names_the_same_server(url: str, expected: str) -> None:
    assert hint.broker_url(url) == expected


def test_another_kind_of_server_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"HEADRACE_REDIS_URL.*amqp"):
        hint.broker_url("amqp://h")


@pytest.mark.parametrize(
    ("record_id", "task"),
    [
        ("job_abc", hint.JOB),
        ("batch_abc.s0", hint.SHARD),
        ("batch_abc.s12", hint.SHARD),
        ("batch_abc.join", hint.SHARD),
    ],
)
def test_the_id_says_which_task(record_id: str, task: str) -> None:
    assert hint.task_name(record_id) == task


@pytest.mark.parametrize("record_id", ["", "batch_abc", "batch_abc.12", "batch_abc.s", "shard_1", "xjob_1"])
def test_another_id_has_no_task(record_id: str, hints: hint.Hints) -> None:
    with pytest.raises(ValueError, match="no job and no shard"):
        hints.send(hint.BULK, record_id)


def test_importing_hint_does_not_import_celery() -> None:
    code = "import sys, headrace.hint; print({'celery', 'kombu', 'redis', 'asyncio', 'urllib'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"


def test_a_message_holds_the_id_and_nothing_else(hints: hint.Hints, client: redis.Redis, namespace: str) -> None:
    hints.send(hint.INTERACTIVE, "job_abc")
    [raw] = client.lrange(hint.queue_key(namespace, hint.INTERACTIVE), 0, -1)
    message = json.loads(raw)
    assert json.loads(base64.b64decode(message["body"]))[:2] == [["job_abc"], {}]
    headers = message["headers"]
    assert (headers["task"], headers["argsrepr"], headers["kwargsrepr"]) == (hint.JOB, "job_abc", "{}")
    assert headers["ignore_result"] is True
    assert headers["eta"] is headers["expires"] is None


def test_many_hints_go_to_their_queues_in_order(hints: hint.Hints, client: redis.Redis, namespace: str) -> None:
    hints.send_many([])
    hints.send_many([(hint.BULK, f"batch_a.s{n}") for n in range(1500)] + [(hint.QUARANTINE, "job_x")])
    raw = client.lrange(hint.queue_key(namespace, hint.BULK), 0, -1)
    assert [json.loads(each)["headers"]["argsrepr"] for each in reversed(raw)] == [f"batch_a.s{n}" for n in range(1500)]
    assert client.llen(hint.queue_key(namespace, hint.QUARANTINE)) == 1


def test_nothing_is_sent_when_one_of_many_is_wrong(hints: hint.Hints, client: redis.Redis, namespace: str) -> None:
    with pytest.raises(ValueError, match="no queue 'bluk'"):
        hints.send_many([(hint.BULK, "job_1"), ("bluk", "job_2")])
    assert client.llen(hint.queue_key(namespace, hint.BULK)) == 0


def test_every_key_is_under_the_namespace(hints: hint.Hints, client: redis.Redis, namespace: str) -> None:
    hints.send(hint.INTERACTIVE, "job_abc")
    keys = client.keys(f"*{namespace}*")
    assert keys
    assert all(str(key).startswith(hint.key_prefix(namespace)) for key in keys)


def test_threads_share_hints(hints: hint.Hints, client: redis.Redis, namespace: str) -> None:
    threads = [
        threading.Thread(target=lambda: [hints.send(hint.BULK, f"job_{n}") for n in range(25)]) for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert client.llen(hint.queue_key(namespace, hint.BULK)) == 500


def test_closing_one_leaves_another_open(valkey_url: str, namespace: str, client: redis.Redis) -> None:
    one, other = hint.Hints(valkey_url, namespace), hint.Hints(valkey_url, namespace)
    one.send(hint.BULK, "job_1")
    other.send(hint.BULK, "job_2")
    one.close()
    other.send(hint.BULK, "job_3")
    one.send(hint.BULK, "job_4")
    one.close()
    other.close()
    assert client.llen(hint.queue_key(namespace, hint.BULK)) == 4


def test_a_server_that_is_gone_is_unreachable_and_found_again(
    own_valkey: Callable[..., EmbeddedServer], namespace: str
) -> None:
    server = own_valkey()
    hints = hint.Hints(server.url, namespace)
    hints.send(hint.BULK, "job_1")
    server.kill()
    began = time.monotonic()
    with pytest.raises(Unreachable, match="headrace up"):
        hints.send(hint.BULK, "job_2")
    with pytest.raises(Unreachable):
        hints.send_many([(hint.BULK, "job_2"), (hint.BULK, "job_3")])
    assert time.monotonic() - began < 10
    server.start()
    hints.send(hint.BULK, "job_4")
    hints.close()


def test_a_server_that_never_answers_does_not_hang_a_publisher(tmp_path: Path, namespace: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hints = hint.Hints(f"redis://:secret@127.0.0.1:{silent.getsockname()[1]}/0", namespace)
        began = time.monotonic()
        with pytest.raises(Unreachable) as caught:
            hints.send(hint.BULK, "job_1")
        assert time.monotonic() - began < 20
        assert "secret" not in str(caught.value)
        hints.close()


def test_a_full_server_is_unreachable(own_valkey: Callable[..., EmbeddedServer], namespace: str) -> None:
    server = own_valkey("--maxmemory", "1")
    hints = hint.Hints(server.url, namespace)
    with pytest.raises(Unreachable, match="memory"):
        hints.send(hint.BULK, "job_1")
    hints.close()
