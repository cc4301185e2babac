"""Bad input: a clear message (what, where, what to do), exit code 2, and nothing enqueued."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import redis
from stack import headrace

GOOD = b'{"text": "The sky is blue."}\n'
INPUTS = {
    "broken JSON": (GOOD + b'{"text":\n', ["line 2", "broken JSON"]),
    "an empty file": (b"", ["no item", "empty"]),
    "only blank lines": (b"\n\n", ["no item"]),
    "an Excel workbook": (b"PK\x03\x04" + GOOD, ["Excel workbook", "save the sheet as CSV"]),
    "a null field": (b'{"text": null}\n', ["line 1", "`text`", "null", "--on-empty skip"]),
    "several bad lines": (
        GOOD + b"[]\n{}\n",
        ["2 of its lines", "line 2: must be a JSON object", "line 3: field `text`"],
    ),
    "invalid UTF-8": (GOOD + b'{"text": "\xff"}\n', ["line 2", "not UTF-8", "0xff"]),
    "a 5 MB line": (GOOD + b'{"text": "' + b"a" * 5_000_000 + b'"}\n', ["line 2", "1 MiB"]),
    "the same id twice": (b'{"id": 7, "text": "a"}\n{"id": "7", "text": "b"}\n', ["line 2", "'7'", "line 1"]),
    "a missing field": (GOOD + b'{"body": "x"}\n', ["line 2", "`text`", "body"]),
    "no object": (b"[1]\n", ["line 1", "JSON object"]),
    "nested too deeply": (b'{"text": ' + b"[" * 100_000 + b"\n", ["line 1", "nested too deeply"]),
    "not a number": (b'{"text": NaN}\n', ["line 1", "broken JSON"]),
    "an id that is no text": (b'{"id": [], "text": "a"}\n', ["line 1", "custom_id"]),
}
SCHEMAS = {
    "not a schema": ({"type": "object", "properties": {"a": {"type": "strin"}}}, ["/properties/a/type"]),
    "a remote reference": (
        {"type": "object", "properties": {"a": {"$ref": "http://127.0.0.1/x"}}},
        ["/properties/a/$ref", "names no file in the folder", "nothing is fetched"],
    ),
    "a reference into nothing": (
        {"type": "object", "properties": {"a": {"$ref": "#/$defs/b"}}},
        ["schema", "/$defs/b"],
    ),
    "nothing that is valid": ({"type": "object", "required": ["a"], "properties": {"a": False}}, ["valid under it"]),
    "no object at all": ([1], ["must be a JSON object"]),
    "a pattern that is larger than any text": (
        {"type": "object", "properties": {"a": {"type": "string", "pattern": "(?:(?:a{1,1000}){1,1000}){1,1000}"}}},
        ["/properties/a/pattern"],
    ),
}
WORDS = {
    "unknown option": (["-o", "temprature=0"], ["temprature", "temperature"]),
    "an option out of range": (["-o", "temperature=7"], ["temperature", "2.0"]),
    "an option that is no pair": (["-o", "temperature"], ["NAME=VALUE"]),
    "too many stops": (["-o", 'stop=["a","b","c","d","e"]'], ["stop", "4"]),
    "unknown provider": (["--model", "nobody/gpt"], ["nobody/gpt", "openai, openrouter, rehearsal, vllm"]),
    "no provider": (["--model", "gpt-5"], ["gpt-5", "openai/gpt-5"]),
    "an open brace": (["--prompt", "{text"], ["--prompt", "{{"]),
    "a prompt that names no field": (["--prompt", "Say it."], ["line 1", "names no field", "{text}"]),
    "a prompt's file that is not there": (
        ["--prompt", "@nowhere.txt"],
        ["--prompt @nowhere.txt", "No such file", "@@"],
    ),
    "a format that is not written": (["--out", "rows.xlsx"], ["--out", "rows.xlsx", ".jsonl", ".csv"]),
    "the input as the output": (["--out", "input.jsonl", "--force"], ["--out", "input.jsonl", "is the same file"]),
    "a place without a name": (["--prompt", "{}"], ["--prompt", "{name}"]),
    "a folder that is not there": (["--out", "nowhere/rows.jsonl"], ["--out", "nowhere"]),
    "a file that is not there": (["--schema", "nowhere.json"], ["nowhere.json", "No such file"]),
    "an unknown flag": (["--modle", "x/y"], ["--modle", "--model"]),
}


@pytest.fixture(scope="module")
def url(valkey_url: str) -> str:
    return valkey_url


def refused(tmp_path: Path, url: str, namespace: str, data: bytes, *arguments: str, **variables: str) -> str:
    """What `extract` says to `data`, after checking that it ended with 2 and left nothing behind."""
    (tmp_path / "input.jsonl").write_bytes(data)
    files = tmp_path / "files"
    environment = {
        **os.environ,
        "HEADRACE_REDIS_URL": url,
        "HEADRACE_NAMESPACE": namespace,
        "HEADRACE_FILES": str(files),
        **variables,
    }
    # One worker is up, which can call what is built in: who is unknown to all workers is refused.
    able = b'99999999999999 {"usable":["openai","openrouter","rehearsal","vllm"]}'
    with redis.Redis.from_url(url) as client:
        client.hset(f"{{{namespace}}}:providers", "worker", able)
        client.expire(f"{{{namespace}}}:providers", 300)
    model = [] if "--model" in arguments else ["--model", "rehearsal/small"]
    done = headrace("extract", "input.jsonl", *model, *arguments, cwd=tmp_path, env=environment)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    with redis.Redis.from_url(url) as client:
        left = [key for key in client.scan_iter(f"{{{namespace}}}*") if not key.endswith((b":store", b":providers"))]
    assert left == []
    assert not files.exists() or [path.name for path in files.rglob("*") if path.name != ".store-id"] == []
    return done.stderr


@pytest.mark.parametrize("what", INPUTS)
def test_an_input(tmp_path: Path, url: str, namespace: str, what: str) -> None:
    data, words = INPUTS[what]
    said = refused(tmp_path, url, namespace, data)
    assert all(word in said for word in ["input.jsonl", *words]), said


@pytest.mark.parametrize("what", SCHEMAS)
def test_a_schema(tmp_path: Path, url: str, namespace: str, what: str) -> None:
    schema, words = SCHEMAS[what]
    (tmp_path / "schema.json").write_text(json.dumps(schema))
    said = refused(tmp_path, url, namespace, GOOD, "--schema", "schema.json")
    assert all(word in said for word in ["schema.json", *words]), said


def test_a_schema_that_is_not_json(tmp_path: Path, url: str, namespace: str) -> None:
    (tmp_path / "schema.json").write_text("{")
    assert "not JSON" in refused(tmp_path, url, namespace, GOOD, "--schema", "schema.json")


@pytest.mark.parametrize("what", WORDS)
def test_refuses_bad_arguments_by_name(tmp_path: Path, url: str, namespace: str, what: str) -> None:
    arguments, words = WORDS[what]
    said = refused(tmp_path, url, namespace, GOOD, *arguments)
    assert all(word in said for word in words), said


def test_a_variable(tmp_path: Path, url: str, namespace: str) -> None:
    assert "HEADRACE_CALLS='many'" in refused(tmp_path, url, namespace, GOOD, HEADRACE_CALLS="many")


def test_an_input_that_is_not_there(tmp_path: Path) -> None:
    done = headrace("extract", "nowhere.jsonl", "--model", "rehearsal/small", cwd=tmp_path)
    assert (done.returncode, "nowhere.jsonl" in done.stderr) == (2, True)


def test_a_server_that_does_not_answer(tmp_path: Path) -> None:
    (tmp_path / "input.jsonl").write_bytes(GOOD)
    environment = {**os.environ, "HEADRACE_REDIS_URL": "redis://127.0.0.1:9/0"}
    done = headrace("extract", "input.jsonl", "--model", "rehearsal/small", cwd=tmp_path, env=environment)
    assert done.returncode == 3
    assert "redis://127.0.0.1:9/0" in done.stderr
    assert "headrace up" in done.stderr
