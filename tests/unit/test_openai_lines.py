"""Output lines in OpenAI's form: what is there of a success, of a failure, and of what never ran."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import openai.types.chat
import openai.types.responses
import pytest
from openai_types import check

from headrace.batches.ingest import InputFiles, commit_input
from headrace.batches.outputs.openai_lines import (
    error_file_lines,
    is_file_in_form,
    openai_line,
    output_file_lines,
    requests_of,
)
from headrace.batches.outputs.output_lines import error_line, success_line
from headrace.batches.request_lines import CHAT, RESPONSES
from headrace.batches.template import Item
from headrace.chat.completion import Completion, Usage
from headrace.errors import CODES, Failure
from headrace.ledger.batch_record import BatchRecord
from headrace.storage.local import LocalFileStore

REQUEST = {"model": "fast", "instructions": "Be short.", "text": {"verbosity": "low"}}


def completion(content: str | None = "Because.", **more: Any) -> Completion:
    return Completion(
        id="c", model="m", created=5, content=content, finish_reason="stop", usage=Usage(3, 4, 1, 2), **more
    )


def shown(line: bytes, request: dict[str, Any] | None = None) -> Any:
    return json.loads(openai_line(line, request))


BESIDE = frozenset({"reasoning_content", "reasoning_details", "images", "citations", "extra"})


def test_a_plain_chat_is_as_it_was_written() -> None:
    line = success_line("a", "r", completion('Say "headrace": and "finish_reason":'))
    assert openai_line(line + b"\n") == line
    check(openai.types.chat.ChatCompletion, json.loads(line)["response"]["body"])


@pytest.mark.parametrize(
    "more",
    [
        {"content": '{"a":1}', "value": {"a": 1}, "mode": "strict"},
        {"cost": 0.5},
        {"reasoning": "Hm."},
        {"citations": ["https://x"]},
        {"logprobs": {"content": []}},
        {"tool_calls": [{"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}]},
    ],
)
def test_any_other_chat_is_made_one_of_the_official_type(more: dict[str, Any]) -> None:
    answer = completion(**more)
    line = shown(success_line("a", "r", answer))
    check(openai.types.chat.ChatCompletion, line["response"]["body"], BESIDE)
    assert (line["id"], line["custom_id"], line["error"]) == ("batch_req_r", "a", None)
    message = line["response"]["body"]["choices"][0]["message"]
    assert message["content"] == answer.content
    assert line["response"]["body"].get("extra") == (
        {name: more[name] for name in ("cost", "mode") if name in more} or None
    )


@pytest.mark.parametrize("reason", ["error", "eos", "length"])
def test_a_chat_with_another_end_has_one_that_openai_knows(reason: str) -> None:
    answer = msgspec.structs.replace(completion(), finish_reason=reason)
    body = shown(success_line("a", "r", answer))["response"]["body"]
    check(openai.types.chat.ChatCompletion, body)
    assert body["choices"][0]["finish_reason"] == ("length" if reason == "length" else "stop")


@pytest.mark.parametrize("code", sorted(set(CODES) - {"batch_cancelled", "batch_expired"}))
def test_a_failure_has_its_status_and_openais_error(code: str) -> None:
    line = shown(error_line("a", "r", Failure(code, "why", status=429, partial="so far")))
    assert (line["id"], line["custom_id"], line["error"]) == ("batch_req_r", "a", None)
    body = line["response"]["body"]
    status, told = (502, "provider_auth") if code == "auth" else (CODES[code].http, code)
    assert (line["response"]["status_code"], line["response"]["request_id"]) == (status, "r")
    sort = "rate_limit_error" if status == 429 else "invalid_request_error" if status < 500 else "server_error"
    assert body["error"] == {"message": "why", "type": sort, "param": None, "code": told}
    assert body["headrace"] == {"status": 429, "partial": "so far"}, "what was paid is kept"


@pytest.mark.parametrize("code", ["batch_cancelled", "batch_expired"])
def test_what_never_ran_has_no_response(code: str) -> None:
    line = shown(error_line("a", "r", Failure(code, "why")))
    assert line == {
        "id": "batch_req_r",
        "custom_id": "a",
        "response": None,
        "error": {"code": code, "message": "why"},
    }


class TestAResponse:
    def body(self, answer: Completion) -> Any:
        body = shown(success_line("a", "r", answer), REQUEST)["response"]["body"]
        check(openai.types.responses.Response, body)
        return body

    def test_has_the_text_and_what_was_asked(self) -> None:
        body = self.body(completion())
        assert (body["instructions"], body["status"], body["model"]) == ("Be short.", "completed", "m")
        assert body["output"][0]["content"][0]["text"] == "Because."
        assert body["usage"]["input_tokens_details"]["cached_tokens"] == 1
        assert body["id"] == self.body(completion())["id"], "the same each time it is written"

    def test_has_a_value_as_its_text(self) -> None:
        body = self.body(completion('{"a": 1.10}', value={"a": 1.1}, mode="strict"))
        assert json.loads(body["output"][0]["content"][0]["text"]) == {"a": 1.1}

    def test_has_its_tool_calls_and_its_reasoning(self) -> None:
        call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
        body = self.body(completion(None, tool_calls=[call], reasoning="Hm."))
        assert [each["type"] for each in body["output"]] == ["reasoning", "function_call"]

    def test_that_was_cut_is_incomplete(self) -> None:
        answer = Completion(id="c", model="m", created=5, content="Be", finish_reason="length", usage=Usage())
        body = shown(success_line("a", "r", answer), REQUEST)["response"]["body"]
        assert (body["status"], body["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})


def test_the_files_of_a_batch_of_responses(tmp_path: Path) -> None:
    store = LocalFileStore(tmp_path)
    items = [Item(custom_id=f"r{n}", response=REQUEST | {"instructions": f"i{n}"}) for n in range(20)]
    files = InputFiles.of("batch_x", 7)
    commit_input(store, "batch_x", iter(items), files=files)
    lines = [success_line(f"r{n}", str(n), completion()) + b"\n" for n in range(20) if n % 5]
    store.commit("batch_x/output", lines)
    store.commit("batch_x/errors", [error_line("r0", "0", Failure("timeout", "late")) + b"\n"])
    fields = {"input": files.lines, "index": files.ranges, "endpoint": RESPONSES}
    batch = BatchRecord("batch_x", {name: value.encode() for name, value in fields.items()})
    assert not is_file_in_form(store, batch, "batch_x/output")
    found = [json.loads(line) for line in output_file_lines(store, batch, "batch_x/output")]
    assert [each["custom_id"] for each in found] == [f"r{n}" for n in range(20) if n % 5]
    assert [each["response"]["body"]["instructions"] for each in found] == [f"i{n}" for n in range(20) if n % 5]
    (error,) = (json.loads(line) for line in error_file_lines(store, "batch_x/errors"))
    assert error["response"]["status_code"] == 504
    for first in (0, 7, 8, 19):  # across shards of eight
        asked = requests_of(store, batch, first, min(9, 20 - first))
        assert [(each or {})["instructions"] for each in asked] == [f"i{n}" for n in range(first, min(20, first + 9))]


@pytest.mark.parametrize("cost", [None, 0.5])
def test_the_file_of_a_batch_of_chats_is_written_anew_only_where_it_has_to_be(
    tmp_path: Path, cost: float | None
) -> None:
    store = LocalFileStore(tmp_path)
    lines = [success_line(f"r{n}", str(n), completion(cost=cost if n == 7 else None)) + b"\n" for n in range(9)]
    store.commit("batch_x/output", lines)
    batch = BatchRecord("batch_x", {"endpoint": CHAT.encode()})
    assert is_file_in_form(store, batch, "batch_x/output") == (cost is None)
    found = list(output_file_lines(store, batch, "batch_x/output"))
    assert [at for at in range(9) if found[at] != lines[at]] == ([] if cost is None else [7])
