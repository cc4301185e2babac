"""What `POST /v1/batches` and its neighbours refuse, and how they tell it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from batches_api import CHAT, create, ended, line, read, upload
from gateways import ask
from openai import OpenAI
from stack import Stack


@pytest.fixture
def official(base: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{base}/v1", api_key="none", max_retries=0) as client:
        yield client


class TestBadRequests:
    @pytest.mark.parametrize(
        ("change", "status", "param"),
        [
            ({"endpoint": "/v1/embeddings"}, 400, "endpoint"),
            ({"endpoint": None}, 400, "endpoint"),
            ({"completion_window": "1h"}, 400, "completion_window"),
            ({"completion_window": 24}, 400, "completion_window"),
            ({"input_file_id": None}, 400, "input_file_id"),
            ({"input_file_id": "file-nobody"}, 404, "input_file_id"),
            ({"input_file_id": "batch_x"}, 404, "input_file_id"),
            ({"input_file_id": "../x"}, 404, "input_file_id"),
            ({"unheard_of": 1}, 400, "unheard_of"),
            ({"metadata": []}, 400, "metadata"),
            ({"metadata": {"k": 1}}, 400, "metadata.k"),
            ({"metadata": {"k" * 65: "v"}}, 400, "metadata"),
            ({"metadata": {"k": "v" * 513}}, 400, "metadata.k"),
            ({"metadata": {f"k{n}": "v" for n in range(17)}}, 400, "metadata"),
            ({"metadata": {f"k{n}": "v" for n in range(100_001)}}, 400, "metadata"),
            ({"output_expires_after": {"anchor": "created_at", "seconds": 9}}, 400, "output_expires_after.seconds"),
            ({"output_expires_after": {"anchor": "now", "seconds": 3600}}, 400, "output_expires_after.anchor"),
            ({"output_expires_after": 3600}, 400, "output_expires_after"),
        ],
    )
    def test_are_told_with_their_place(
        self, official: OpenAI, base: str, change: dict[str, Any], status: int, param: str
    ) -> None:
        body = {"input_file_id": upload(official, [line("a")]), "endpoint": CHAT, "completion_window": "24h"} | change
        answer = ask(f"{base}/v1/batches", "POST", body)
        assert (answer.status, answer.json["error"]["param"]) == (status, param), answer.body

    def test_with_a_million_keys_cost_little(self, base: str) -> None:
        many = b'{"metadata": {' + b",".join(b'"%d":"v"' % n for n in range(10**6)) + b"}}"
        began = time.monotonic()
        assert ask(f"{base}/v1/batches", "POST", many).status == 400
        assert time.monotonic() - began < 5

    @pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"a":' * 5000])
    def test_without_an_object_are_told(self, base: str, body: bytes) -> None:
        assert ask(f"{base}/v1/batches", "POST", body).status == 400

    def test_over_a_file_of_another_purpose(self, official: OpenAI, base: str) -> None:
        file = official.files.create(file=("a", b"{}"), purpose="user_data").id
        body = {"input_file_id": file, "endpoint": CHAT, "completion_window": "24h"}
        answer = ask(f"{base}/v1/batches", "POST", body)
        assert (answer.status, answer.json["error"]["param"]) == (400, "input_file_id")

    def test_over_a_deleted_file(self, official: OpenAI) -> None:
        file = upload(official, [line("a")])
        official.files.delete(file)
        with pytest.raises(openai.NotFoundError):
            official.batches.create(input_file_id=file, endpoint=CHAT, completion_window="24h")

    @pytest.mark.parametrize("name", ["batch_x", "file-x", "batch_" + "x" * 99, "batch_x.s0", "job_x", "batch_%00"])
    @pytest.mark.parametrize(
        ("method", "rest"), [("GET", ""), ("POST", "/cancel"), ("GET", "/results"), ("POST", "/retry")]
    )
    def test_about_a_batch_that_is_not_there(self, base: str, name: str, method: str, rest: str) -> None:
        assert ask(f"{base}/v1/batches/{name}{rest}", method).status == 404

    def test_about_a_batch_that_was_not_created_here(self, stack: Stack, base: str) -> None:
        batch = stack.extract([{"text": "x"}], "--prompt", "{text}")
        assert ask(f"{base}/v1/batches/{batch}").status == 404
        assert batch not in [each["id"] for each in ask(f"{base}/v1/batches?limit=100").json["data"]]

    @pytest.mark.parametrize("query", ["limit=0", "limit=101", "after=x", "after=batch_x"])
    def test_for_a_page_that_is_none(self, base: str, query: str) -> None:
        assert ask(f"{base}/v1/batches?{query}").status in (400, 404)

    @pytest.mark.parametrize("after", ["-1", "x", "1e3", "9" * 12])
    def test_for_results_behind_what_is_no_number(self, official: OpenAI, base: str, after: str) -> None:
        batch = create(official, [line("a")])
        assert ask(f"{base}/v1/batches/{batch.id}/results?after={after}").status == 400


def test_a_file_may_begin_with_a_byte_order_mark(official: OpenAI) -> None:
    marked = "\ufeff".encode() + json.dumps(line("a")).encode()
    file = official.files.create(file=("a.jsonl", marked), purpose="batch")
    made = official.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")
    assert ended(official, made).status == "completed"


def test_a_provider_that_refuses_our_key_is_not_the_callers_fault(official: OpenAI) -> None:
    refused = [{"role": "user", "content": "[[rehearsal fault=401]] x"}]
    batch = ended(official, create(official, [line("fine"), line("refused", messages=refused)]))
    assert batch.error_file_id
    (row,) = read(official, batch.error_file_id)
    assert row["response"]["status_code"] == 502
    assert row["response"]["body"]["error"]["code"] == "provider_auth"


@pytest.mark.parametrize(("path", "unknown"), [("files", "file-x"), ("batches", "batch_x"), ("files", "?")])
def test_the_place_of_an_unknown_cursor_is_named(base: str, path: str, unknown: str) -> None:
    answer = ask(f"{base}/v1/{path}?after={unknown}")
    assert (answer.status, answer.json["error"]["param"]) == (404, "after")
