"""Nothing is paid by mistake: a prompt without a place, empty fields, and lines that bring a conversation of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from headrace.batches.build import make_template
from headrace.batches.ingest import OnEmpty, read_items
from headrace.batches.inputs.sources import Complaints, records
from headrace.batches.template import Item, Template
from headrace.cli.params import given_text
from headrace.errors import InputError
from headrace.jobs.job import Job

MODEL = "rehearsal/small"
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}}


def items(rows: Any, prompt: str = "{text}", on_empty: OnEmpty = "refuse", **words: Any) -> list[Item]:
    template, _ = make_template(MODEL, prompt, **words)
    return list(read_items(records(rows), template, on_empty=on_empty))


def job(line: dict[str, Any], **words: Any) -> Job:
    template, _ = make_template(MODEL, "{text}", **words)
    (item,) = read_items(records([line]), template)
    # As a worker gets it: written into the input and read again.
    return template.job(msgspec.json.decode(msgspec.json.encode(item), type=Item))


def line(**body: Any) -> dict[str, Any]:
    talk = [{"role": "user", "content": "Hi"}]
    return {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {"messages": talk} | body}


@pytest.mark.parametrize("prompt", ["Summarise the text.", "Say {{text}}", "x"])
def test_a_prompt_that_names_no_field_is_refused(prompt: str) -> None:
    with pytest.raises(
        InputError, match=r"item 1: the prompt names no field.*such as \{stars\}.*Fields there: stars, text"
    ):
        items([{"text": "a", "stars": 1}], prompt)


@pytest.mark.parametrize(
    ("value", "said"), [(None, "null"), ("", "empty"), (" \n", "blank"), ([], "empty"), ({}, "empty")]
)
def test_empty_fields_are_refused_skipped_or_sent(value: Any, said: str) -> None:
    rows = [{"text": "a"}, {"text": value}, {"text": "c", "other": None}]
    with pytest.raises(InputError, match=f"item 2: field `text`, which the prompt names, is {said}"):
        items(rows)
    assert [item.custom_id for item in items(rows, on_empty="skip")] == ["line-1", "line-3"]
    assert len(items(rows, on_empty="send")) == 3
    complaints = Complaints()
    template = Template(model=MODEL)
    list(read_items(records(rows), template, complaints=complaints, on_empty="skip"))
    assert complaints.skipped == 1
    with pytest.raises(InputError, match="all 1 were skipped"):
        items(rows[1:2], on_empty="skip")


@pytest.mark.parametrize("value", [0, False, 0.0, "0", "-", [0], float(1)])
def test_falsy_values_are_not_empty(value: Any) -> None:
    assert len(items([{"text": value}])) == 1


def test_not_a_number_is_null() -> None:
    with pytest.raises(InputError, match="null"):
        items([{"text": float("nan")}])


def test_a_choice_that_is_none_is_named() -> None:
    with pytest.raises(InputError, match="on_empty='drop': must be one of refuse, skip, send"):
        items([{"text": "a"}], on_empty="drop")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


def test_a_prompt_is_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "prompt.md"
    file.write_bytes("\ufeffTwo lines,\nof {text}: ü\n".encode())
    assert given_text(f"@{file}", "--prompt") == "Two lines,\nof {text}: ü"
    assert given_text("@@home {text}", "--prompt") == "@home {text}"
    assert given_text("plain {text}", "--prompt") == "plain {text}"
    for name, data, said in (
        ("nowhere", None, "No such file"),
        ("empty", b" \n", "is empty"),
        ("odd", b"\xff", "UTF-8"),
    ):
        if data is not None:
            (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError, match=f"--prompt @.*{name}: .*{said}"):
            given_text(f"@{tmp_path / name}", "--prompt")


def test_openais_batch_form_brings_messages_tools_options_and_images() -> None:
    talk = [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": [{"type": "text", "text": "?"}, IMAGE]},
    ]
    body = {"model": "gpt-5-mini", "messages": talk, "tools": [TOOL], "tool_choice": "required", "temperature": 0.5}
    asked = job(line(**body, max_completion_tokens=7, foo={"bar": 1}, seed=3), top_p=0.5, temperature=1.0)
    assert asked.model == MODEL
    assert asked.messages == talk
    assert asked.tools == [TOOL]
    assert asked.tool_choice == "required"
    options = asked.options
    assert (options.temperature, options.max_tokens, options.seed, options.top_p) == (0.5, 7, 3, 0.5)
    assert options.extra_body == {"foo": {"bar": 1}}


def test_a_lines_response_format_goes_to_the_provider() -> None:
    given = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}
    assert job(line(response_format=given)).response_format == given
    assert job(line(response_format={"type": "text"})).response_format is None
    with pytest.raises(InputError, match=r"/body/response_format: the batch has a schema of its own"):
        job(line(response_format={"type": "json_object"}), schema={"type": "object", "properties": {}})


@pytest.mark.parametrize(
    ("odd", "said"),
    [
        (line(messages=None), "/body/messages"),
        (line(messages=[{"role": "robot", "content": "x"}]), "/body/messages/0/role"),
        (line(temperature="hot"), "/body: option refused"),
        (line(n=2), "/body/n"),
        (line(stream=True), "/body/stream"),
        (line(tools={"a": 1}), "/body/tools"),
        (line(functions=[{}]), "/body/functions: is no longer taken; write `tools`"),
        (line(api_key="secret"), "/body/api_key: is no part of a body"),
        (line(max_tokens=1, max_completion_tokens=2), "give one of them, not both"),
        (line() | {"method": "GET"}, "/method: must be POST"),
        (line() | {"url": "/v1/embeddings"}, "/url: must be /v1/chat/completions"),
        ({"custom_id": "a", "url": "/v1/embeddings", "body": {"input": "x"}}, "/url: must be"),
        (line(response_format={"type": "xml"}), "/body/response_format/type"),
        (line(tools=[{"type": "function"}]), "/body"),
    ],
)
def test_a_body_that_cannot_be_sent_is_named_by_its_place(odd: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match="item 1: ") as raised:
        items([odd])
    assert said in str(raised.value)
    assert "secret" not in str(raised.value)


def test_a_batch_asks_one_model_and_a_body_needs_no_prompt() -> None:
    one, other = line(model="gpt-5"), line(model="gpt-5-mini") | {"custom_id": "b"}
    with pytest.raises(InputError, match="item 2: /body/model is 'gpt-5-mini', on line 1 it was 'gpt-5'"):
        items([one, other])
    with pytest.raises(InputError, match="brings its own messages"):
        items([one], "Of: {text}")


def test_a_body_that_the_prompt_names_is_a_field() -> None:
    (item,) = items([{"body": {"messages": 3}}], "{body}")
    assert (item.messages, item.fields) == (None, {"body": '{"messages":3}'})
    (item,) = items([{"body": "of a letter"}], "{body}")
    assert item.fields == {"body": "of a letter"}
