"""Batches over HTTP in tests: lines for every endpoint, an upload, and a batch that is followed to its end."""

from __future__ import annotations

import json
from typing import Any

import openai.types
from gateways import ask
from openai import OpenAI
from openai_types import check
from stack import until

ENDED = {"completed", "failed", "cancelled", "expired"}
CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}
FORM = {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}
TOOL = {"type": "function", "function": {"name": "look", "parameters": SCHEMA}}
FAILS = [{"role": "user", "content": "[[rehearsal fault=400]] Why?"}]
SLOW = [{"role": "user", "content": "[[rehearsal latency=60000]] Why?"}]
ALIASES = json.dumps({"fast": ["rehearsal/small", "rehearsal/other"]})


def line(custom_id: str, url: str = CHAT, **body: Any) -> dict[str, Any]:
    asked = {"model": "rehearsal/small"}
    asked |= {"input": "Why?"} if url == RESPONSES else {"messages": [{"role": "user", "content": "Why?"}]}
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": asked | body}


def upload(client: OpenAI, lines: list[Any]) -> str:
    data = b"".join((each if isinstance(each, bytes) else json.dumps(each).encode()) + b"\n" for each in lines)
    return client.files.create(file=("in.jsonl", data), purpose="batch").id


def create(client: OpenAI, lines: list[Any], endpoint: Any = CHAT, **more: Any) -> openai.types.Batch:
    file = upload(client, lines)
    return client.batches.create(input_file_id=file, endpoint=endpoint, completion_window="24h", **more)


def ended(client: OpenAI, batch: openai.types.Batch) -> openai.types.Batch:
    """The batch at its end; on the way each body is one of the official type."""

    def found() -> openai.types.Batch | None:
        raw = client.batches.with_raw_response.retrieve(batch.id)
        check(openai.types.Batch, json.loads(raw.text))
        return raw.parse() if raw.parse().status in ENDED else None

    return until(found, what="the batch has ended")


def read(client: OpenAI, file: str | None) -> list[dict[str, Any]]:
    return [json.loads(each) for each in client.files.content(file).text.splitlines()] if file else []


def body_of(line: dict[str, Any]) -> Any:
    assert set(line) == {"id", "custom_id", "response", "error"}
    assert line["id"].startswith("batch_req_")
    assert set(line["response"]) == {"status_code", "request_id", "body"}
    return line["response"]["body"]


def results(base: str, batch: str, after: int = 0) -> list[dict[str, Any]]:
    answer = ask(f"{base}/v1/batches/{batch}/results?after={after}")
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [json.loads(each) for each in answer.body.splitlines() if each]
