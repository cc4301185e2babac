"""`/v1/batches` through the official client: created, followed, read, cancelled, retried; each body by the strict types."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import openai.types
import openai.types.chat
import openai.types.responses
import pytest
from batches_api import (
    ALIASES,
    CHAT,
    FAILS,
    FORM,
    RESPONSES,
    SCHEMA,
    SLOW,
    TOOL,
    body_of,
    create,
    ended,
    line,
    read,
    results,
    upload,
)
from gateways import Answer, another_gateway, ask, killed
from openai import OpenAI
from openai_types import check
from stack import Stack, started, until

JS = Path(__file__).parent / "js"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("batches")
    with started(folder, "--no-flower", environment={"HEADRACE_MODELS": ALIASES}) as stack:
        yield stack


@pytest.fixture
def official(base: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{base}/v1", api_key="none", max_retries=0) as client:
        yield client


class TestABatchOfChats:
    def test_has_openais_life_from_end_to_end(self, official: OpenAI, base: str) -> None:
        lines = [
            line("plain"),
            line("alias", model="fast"),
            line("schema", response_format=FORM),
            line("tools", tools=[TOOL], tool_choice="required"),
            line("fails", messages=FAILS),
        ]
        policy: Any = {"anchor": "created_at", "seconds": 3600}
        made = create(official, lines, metadata={"who": "me"}, output_expires_after=policy)
        check(openai.types.Batch, made.model_dump())
        assert made.status == "validating"
        assert (made.endpoint, made.completion_window, made.metadata) == (CHAT, "24h", {"who": "me"})
        assert made.expires_at == made.created_at + 24 * 3600
        assert official.files.delete(made.input_file_id).deleted, "the batch has a link of its own"
        batch = ended(official, made)
        assert batch.status == "completed"
        assert batch.request_counts is not None
        assert batch.request_counts.model_dump() == {"total": 5, "completed": 4, "failed": 1}
        assert batch.usage is not None
        assert batch.usage.total_tokens == batch.usage.input_tokens + batch.usage.output_tokens > 0
        times = [batch.created_at, batch.in_progress_at, batch.finalizing_at, batch.completed_at]
        assert times == sorted(times, key=lambda each: each or 0)
        assert (batch.failed_at, batch.cancelled_at, batch.expired_at, batch.errors) == (None, None, None, None)
        output, errors = read(official, batch.output_file_id), read(official, batch.error_file_id)
        assert [each["custom_id"] for each in output] == ["plain", "alias", "schema", "tools"]
        for each in output:
            check(openai.types.chat.ChatCompletion, body_of(each), frozenset({"extra"}))
            assert (each["response"]["status_code"], each["error"]) == (200, None)
        assert set(json.loads(body_of(output[2])["choices"][0]["message"]["content"])) == {"a"}
        assert body_of(output[3])["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "look"
        (error,) = errors
        assert (error["custom_id"], error["response"]["status_code"], error["error"]) == ("fails", 400, None)
        assert set(body_of(error)["error"]) == {"message", "type", "param", "code"}
        for file_id, name in ((batch.output_file_id, "output"), (batch.error_file_id, "error")):
            assert file_id is not None
            file = official.files.retrieve(file_id)
            assert (file.purpose, file.filename) == ("batch_output", f"{batch.id}_{name}.jsonl")
            assert file.bytes == len(official.files.content(file_id).read())
            assert file.expires_at == file.created_at + 3600
            assert file_id in [each.id for each in official.files.list(purpose="batch_output")]
        whole = results(base, batch.id)
        assert [each["custom_id"] for each in whole] == [each["custom_id"] for each in lines]
        assert results(base, batch.id, 3) == whole[3:]
        assert results(base, batch.id, 5) == results(base, batch.id, 99) == []

    def test_has_no_empty_file(self, official: OpenAI) -> None:
        batch = ended(official, create(official, [line("a")]))
        assert batch.output_file_id is not None
        assert batch.error_file_id is None
        assert batch.model == "rehearsal/small"
        batch = ended(official, create(official, [line("a", messages=FAILS)]))
        assert (batch.output_file_id, batch.status) == (None, "completed")

    def test_is_retried_for_what_failed(self, official: OpenAI, base: str, stack: Stack) -> None:
        old = ended(official, create(official, [line("a"), line("b", messages=FAILS)], metadata={"k": "v"}))
        answer = ask(f"{base}/v1/batches/{old.id}/retry", "POST", b"")
        assert answer.status == 200, answer.body
        new = ended(official, openai.types.Batch.model_validate(answer.json))
        assert (new.input_file_id, new.metadata, new.model) == (old.input_file_id, {"k": "v"}, "rehearsal/small")
        assert read(official, new.output_file_id) == read(official, old.output_file_id), "what was paid is taken over"
        assert [each["custom_id"] for each in read(official, new.error_file_id)] == ["b"]
        assert len(stack.calls_of(new.id)) == 1
        assert ask(f"{base}/v1/batches/{new.id}/retry", "POST", {"codes": ["nonsense"]}).status == 400
        assert ask(f"{base}/v1/batches/{new.id}/retry", "POST", {"more": 1}).status == 400

    def test_is_retried_once_by_a_client_that_repeats_itself(self, official: OpenAI, base: str) -> None:
        old = ended(official, create(official, [line("a", messages=FAILS)]))

        def retried(**headers: str) -> str:
            return ask(f"{base}/v1/batches/{old.id}/retry", "POST", b"", **headers).json["id"]

        first = retried()
        assert retried(x_stainless_retry_count="1") == first
        assert retried() != first
        assert retried(idempotency_key="retry") == retried(idempotency_key="retry")
        codes = {"codes": ["invalid_request"]}
        answer = ask(f"{base}/v1/batches/{old.id}/retry", "POST", codes, idempotency_key="retry")
        assert answer.status == 409

    def test_is_followed_while_it_runs(self, official: OpenAI, base: str) -> None:
        last = [{"role": "user", "content": "[[rehearsal latency=2000]] Why?"}]
        batch = create(official, [line("first"), line("last", messages=last)])
        began, seen = time.monotonic(), []
        with httpx.stream("GET", f"{base}/v1/batches/{batch.id}/results", timeout=30) as answer:
            for each in answer.iter_lines():
                if each:
                    seen.append((json.loads(each)["custom_id"], time.monotonic() - began))
        assert [name for name, _ in seen] == ["first", "last"]
        assert seen[0][1] < seen[1][1] - 1, "the first one came before the last was answered"

    def test_is_the_same_for_a_client_that_repeats_itself(self, official: OpenAI) -> None:
        file = upload(official, [line("a")])

        def made(**headers: str) -> str:
            return official.batches.create(
                input_file_id=file, endpoint=CHAT, completion_window="24h", extra_headers=headers
            ).id

        assert made() != made()
        assert made(**{"idempotency-key": "k"}) == made(**{"idempotency-key": "k"})


def test_a_batch_of_responses(official: OpenAI, base: str) -> None:
    text = {"format": {"type": "json_schema", "name": "n", "schema": SCHEMA}}
    lines = [
        line("plain", RESPONSES, instructions="Be short.", metadata={"x": "y"}),
        line("schema", RESPONSES, model="fast", text=text),
        line("fails", RESPONSES, input="[[rehearsal fault=400]] Why?"),
    ]
    batch = ended(official, create(official, lines, RESPONSES))
    assert batch.status == "completed", batch
    output = read(official, batch.output_file_id)
    assert [each["custom_id"] for each in output] == ["plain", "schema"]
    shown = [check(openai.types.responses.Response, body_of(each)) for each in output]
    assert (shown[0].instructions, shown[0].metadata, shown[0].status) == ("Be short.", {"x": "y"}, "completed")
    assert set(json.loads(shown[1].output_text)) == {"a"}
    assert len({each.id for each in shown}) == 2
    (error,) = read(official, batch.error_file_id)
    assert error["response"]["status_code"] == 400
    assert results(base, batch.id) == [*output, error]


class TestBadLines:
    def test_are_all_named_and_nothing_runs(self, official: OpenAI, stack: Stack) -> None:
        lines = [line("a"), b"{", line("a"), line("c", RESPONSES), line("d", model="nobody/x")]
        batch = ended(official, create(official, lines))
        assert batch.status == "failed"
        assert batch.failed_at
        assert batch.errors is not None
        assert batch.errors.object == "list"
        errors = batch.errors.data or []
        assert [(each.line, each.code, each.param) for each in errors] == [
            (2, "invalid_json_line", None),
            (3, "duplicate_custom_id", "custom_id"),
            (4, "invalid_url", "url"),
            (5, "model_not_found", "body.model"),
        ]
        assert not stack.calls_of(batch.id)
        assert (batch.output_file_id, batch.error_file_id) == (None, None)

    def test_of_many_a_hundred_are_named_and_all_counted(self, official: OpenAI) -> None:
        batch = ended(official, create(official, [b"{"] * 130))
        assert batch.errors is not None
        assert batch.errors.data is not None
        assert len(batch.errors.data) == 101
        assert "130 in all" in (batch.errors.data[-1].message or "")

    def test_a_file_without_a_line_fails(self, official: OpenAI) -> None:
        batch = ended(official, create(official, [b"", b""]))
        assert batch.errors is not None
        assert [each.code for each in batch.errors.data or []] == ["empty_file"]

    def test_are_told_by_the_command_line_as_well(self, official: OpenAI, stack: Stack) -> None:
        batch = ended(official, create(official, [line("a"), b"{"]))
        watched = stack.run("watch", batch.id)
        assert (watched.returncode, "line 2: the line is no JSON" in watched.stderr) == (1, True)
        assert stack.run("batches", "show", batch.id).returncode == 1
        again = stack.run("batches", "retry", batch.id)
        assert (again.returncode, "nothing of it has run" in again.stderr) == (2, True)

    def test_cannot_be_retried(self, official: OpenAI, base: str) -> None:
        batch = ended(official, create(official, [b"{"]))
        assert ask(f"{base}/v1/batches/{batch.id}/retry", "POST", b"").status == 400
        assert ask(f"{base}/v1/batches/{batch.id}/results").json["error"]["code"] == "batch_failed"

    def test_are_skipped_where_that_is_wanted(self, official: OpenAI) -> None:
        own: Any = {"headrace": {"on_bad_row": "skip"}}
        batch = ended(official, create(official, [line("a"), b"{", line("a")], extra_body=own))
        assert batch.status == "completed"
        errors = read(official, batch.error_file_id)
        assert [each["custom_id"] for each in errors] == ["line-2", "line-3"]
        assert {each["response"]["status_code"] for each in errors} == {400}


class TestATemplate:
    def test_makes_requests_of_rows(self, official: OpenAI, stack: Stack) -> None:
        own = {
            "template": {"model": "fast", "prompt": "Say {text}", "system": "Be short.", "temperature": 0},
            "schema": SCHEMA,
            "reasks": 1,
        }
        rows = [{"id": n, "text": f"word {n}"} for n in range(3)]
        batch = ended(official, create(official, rows, extra_body={"headrace": own}))
        assert batch.status == "completed", batch
        output = read(official, batch.output_file_id)
        assert [each["custom_id"] for each in output] == ["0", "1", "2"]
        assert all(set(json.loads(body_of(each)["choices"][0]["message"]["content"])) == {"a"} for each in output)

    @pytest.mark.parametrize(
        "own",
        [
            [],
            {"priority": 1},
            {"budget": "5 €"},
            {"on_bad_row": "x"},
            {"schema": 7},
            {"schema": {"type": "nothing"}},
            {"mode": "strict"},
            {"reasks": 1},
            {"template": {"prompt": "x {a}"}},
            {"template": {"model": "rehearsal/small"}},
            {"template": {"model": "rehearsal/small", "prompt": "{"}},
            {"template": {"model": "nobody", "prompt": "{a}"}},
            {"template": {"model": "nobody/x", "prompt": "{a}"}},
            {"template": {"model": "rehearsal/small", "prompt": "{a}", "unheard_of": 1}},
            {"template": {"model": "rehearsal/small", "prompt": "{a}", "extra_headers": {"a": "b"}}},
            {"template": {"model": "rehearsal/small", "prompt": "{a}", "schema": SCHEMA}},
            {"template": {"model": "rehearsal/small", "prompt": "{a}", "n": 2}},
        ],
    )
    def test_that_cannot_be_used_is_refused_before_anything_is_there(self, official: OpenAI, own: Any) -> None:
        with pytest.raises(openai.APIStatusError) as error:
            create(official, [{"a": "x"}], extra_body={"headrace": own})
        assert error.value.status_code in (400, 404)


def test_pages_through_the_list(official: OpenAI, base: str) -> None:
    made = [create(official, [line("a")]).id for _ in range(3)]
    found = [batch.id for batch in official.batches.list(limit=2)]
    assert found[:3] == made[::-1]
    page = ask(f"{base}/v1/batches?limit=2").json
    assert (page["first_id"], page["last_id"], page["has_more"]) == (made[2], made[1], True)
    for each in page["data"]:
        check(openai.types.Batch, each)


class TestCancelling:
    def test_keeps_what_was_paid_and_names_the_rest(self, official: OpenAI, base: str) -> None:
        batch = create(official, [line("done"), *(line(f"slow{n}", messages=SLOW) for n in range(3))])

        def has_one() -> bool:
            counts = official.batches.retrieve(batch.id).request_counts
            return counts is not None and counts.completed == 1

        until(has_one, what="one is done")
        assert official.batches.cancel(batch.id).status in ("cancelling", "cancelled")
        batch = ended(official, batch)
        assert batch.status == "cancelled"
        assert batch.cancelling_at is not None
        assert batch.cancelled_at is not None
        assert [each["custom_id"] for each in read(official, batch.output_file_id)] == ["done"]
        errors = read(official, batch.error_file_id)
        assert [(each["response"], each["error"]["code"]) for each in errors] == [(None, "batch_cancelled")] * 3
        assert official.batches.cancel(batch.id).status == "cancelled", "idempotent"
        assert len(results(base, batch.id)) == 4

    def test_after_its_end_is_a_conflict(self, official: OpenAI) -> None:
        batch = ended(official, create(official, [line("a")]))
        with pytest.raises(openai.ConflictError):
            official.batches.cancel(batch.id)


def body(file: str) -> dict[str, Any]:
    return {"input_file_id": file, "endpoint": CHAT, "completion_window": "24h"}


class TestWhileItIsChecked:
    """What happens before a worker has looked at all lines."""

    def test_a_batch_is_cancelled_while_it_is_checked(self, official: OpenAI, base: str, stack: Stack) -> None:
        """A check takes long enough to be met: a file of many lines."""
        many = [line(f"r{n}") for n in range(60_000)]
        batch = create(official, many)
        answer: Answer = ask(f"{base}/v1/batches/{batch.id}/cancel", "POST", b"")
        assert answer.json["status"] in ("cancelled", "cancelling"), answer.body
        batch = ended(official, batch)
        assert batch.status == "cancelled"
        assert results(base, batch.id) == []
        assert ask(f"{base}/v1/batches/{batch.id}/retry", "POST", b"").status == 400
        assert batch.cancelled_at is not None

    def test_a_gateway_killed_after_its_answer_loses_nothing(self, stack: Stack, official: OpenAI) -> None:
        file = upload(official, [line("a")])
        with another_gateway(stack, "dies") as (mine, process):
            made = ask(f"{mine}/v1/batches", "POST", body(file)).json
            killed(process.pid)
        assert ended(official, openai.types.Batch.model_validate(made)).status == "completed"


@pytest.mark.skipif(
    not (JS / "node_modules" / "openai").is_dir(), reason="the npm clients are not installed: `make js`"
)
def test_the_official_client_for_node(base: str) -> None:
    command = ["node", str(JS / "batches.mjs"), base, "rehearsal/small"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert [json.loads(each)["custom_id"] for each in said["content"].splitlines()] == ["a", "b"]
    assert said["file"]["expires_at"] == said["file"]["created_at"] + 3600
    assert (said["first"], said["batch"]["status"], said["batch"]["metadata"]) == (
        "validating",
        "completed",
        {"k": "v"},
    )
    assert [json.loads(each)["custom_id"] for each in said["output"].splitlines()] == ["a", "b"]
    assert {said["file"]["id"], said["batch"]["output_file_id"]} <= set(said["files"])
    assert said["batch"]["id"] in said["batches"]
    assert said["deleted"] is True
    assert said["error"] == ["NotFoundError", 404, "input_file_id"]
    assert said["conflict"] == ["ConflictError", 409]


def test_a_larger_batch_comes_in_order_and_redis_does_not_know_how_large_it_is(
    official: OpenAI, stack: Stack, base: str
) -> None:
    """A short form of `bench/batch_api.py`."""
    count = 3000
    with contextlib.closing(stack.client) as redis:
        redis.config_resetstat()
        before: Any = redis.info("memory")["used_memory"]
        batch = create(official, [line(f"r{n}") for n in range(count)])
        seen = [each["custom_id"] for each in results(base, batch.id)]
        after: Any = redis.info("memory")["used_memory"]
    assert seen == [f"r{n}" for n in range(count)]
    batch = ended(official, batch)
    assert [each["custom_id"] for each in read(official, batch.output_file_id)] == seen
    assert (after - before) / 2**20 < 16
