"""A batch's record, template or files that somebody changed: every command tells it in a line, and reads nothing outside the
store."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from command_line import command
from stack import Stack, started, until

VALUES = (b"\xff", b"", b"-1", b"9" * 40, b"\x1b[2J", b"../../../etc/passwd", b"x")
COMMANDS = (
    ("batches", "show"),
    ("batches", "results"),
    ("batches", "retry"),
    ("batches", "resume"),
    ("files", "list"),
    ("batches", "show", "--out", "rows.csv", "--force"),
    ("batches", "list"),
)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with started(tmp_path_factory.mktemp("planted-batches"), "--no-flower", "--no-gateway") as stack:
        yield stack


@pytest.fixture(scope="module")
def batch(stack: Stack) -> str:
    lines = [{"id": "1", "text": "x"}, {"id": "2", "text": "[[rehearsal fault=400 times=9]] y"}]
    batch = stack.extract(lines)
    until(lambda: stack.batch(batch)["state"] == "completed", what="it ends", seconds=20)
    return batch


def check_told(stack: Stack, folder: Path, batch: str) -> None:
    environment = {"HEADRACE_REDIS_URL": stack.ready["redis"], "HEADRACE_FILES": stack.ready["files"]}
    for words in COMMANDS:
        arguments = (*words[:2], *(() if words[1] == "list" and words[0] == "batches" else (batch,)), *words[2:])
        ended = command(*arguments, folder=folder, environment=environment)
        assert not ended.crash, (words, ended.crash[-1500:])
        assert ended.code in (0, 1, 2, 3), words
        assert b"root:" not in ended.out, words
        assert ended.code == 0 or ended.err or ended.out, words


FIELDS = (
    *(
        "state",
        "kind",
        "created",
        "ended",
        "total",
        "succeeded",
        "failed",
        "cancelled",
        "dead",
        "input",
        "output",
        "errors",
    ),
    *(
        "index",
        "shards",
        "fed",
        "template",
        "model",
        "structured",
        "retry_of",
        "reask_of",
        "reasked_as",
        "outcome",
        "codes",
    ),
    *("code:invalid_request", "input_tokens", "reason", "waiting", "epoch", "prefill", "expires", "refused", "retried"),
)


@pytest.mark.parametrize("field", FIELDS)
def test_a_field_of_the_record(field: str, stack: Stack, batch: str, tmp_path: Path) -> None:
    with contextlib.closing(stack.client) as client:
        key = f"{{hr}}:batch:{batch}"
        kept = client.dump(key)
        for value in VALUES:
            if field == "state" and value == b"x":
                continue
            client.hset(key, field, value)
            try:
                check_told(stack, tmp_path, batch)
            finally:
                client.restore(key, 0, kept, replace=True)
                forget_retries(client, batch)


def forget_retries(client: redis.Redis, batch: str) -> None:
    """So that the next retry is a new one."""
    for key in client.scan_iter("{hr}:batch:batch_*"):
        if client.type(key) == b"hash" and client.hget(key, "retry_of") == batch.encode():
            client.delete(key)


@pytest.mark.parametrize("value", [b"\xff", b"[]", b"{}", b"[" * 100_000, b'{"model": "m", "reasks": 99999}'])
def test_a_template(value: bytes, stack: Stack, batch: str, tmp_path: Path) -> None:
    with contextlib.closing(stack.client) as client:
        key = f"{{hr}}:tpl:{stack.batch(batch)['template']}"
        assert client.exists(key)
        kept = client.get(key)
        client.set(key, value, keepttl=True)
        try:
            check_told(stack, tmp_path, batch)
        finally:
            client.set(key, kept, keepttl=True)
            forget_retries(client, batch)


@pytest.mark.parametrize("name", ["index", "input", "output", "errors"])
@pytest.mark.parametrize("data", [b"", b"\xff\n", b"{}\n", b"\x00" * 100, b"[" * 100_000])
def test_a_file(name: str, data: bytes, stack: Stack, batch: str, tmp_path: Path) -> None:
    path = Path(stack.ready["files"]) / stack.batch(batch)[name]
    kept = path.read_bytes()
    path.write_bytes(data)
    try:
        check_told(stack, tmp_path, batch)
    finally:
        path.write_bytes(kept)
