"""The lines of an uploaded batch: what is taken, what is refused with its number, and how all of it is told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from headrace.batches.request_lines import RESPONSES, Rejected, RequestLines
from headrace.batches.template import Item, Template
from headrace.errors import ModelNotFound

CHAT = "/v1/chat/completions"
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}


def line(custom_id: str = "a", url: str = CHAT, **body: Any) -> dict[str, Any]:
    asked = {"model": "rehearsal/small", "messages": [{"role": "user", "content": "Why?"}], **body}
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": asked}


def raw(lines: list[Any]) -> Iterator[bytes]:
    for each in lines:
        yield (each if isinstance(each, bytes) else json.dumps(each).encode()) + b"\n"


def items(*lines: Any, template: Template | None = None, **options: Any) -> list[Item]:
    reader = RequestLines(template or Template(model=""), **{"max_lines": 1000, **options})
    return list(reader.items(raw(list(lines))))


def rejected(*lines: Any, **options: Any) -> Rejected:
    with pytest.raises(Rejected) as caught:
        items(*lines, **options)
    return caught.value


def one_error(given: Any, **options: Any) -> tuple[str, str | None]:
    (error,) = rejected(line("ok"), given, **options).errors
    assert error.line == 2
    return error.code, error.param


class TestARequest:
    def test_brings_its_whole_body(self) -> None:
        form = {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}
        body = {"tools": [TOOL], "tool_choice": "required", "temperature": 0.5, "user": "u", "max_completion_tokens": 9}
        tools, schema = items(line(**body), line("b", response_format=form, own_field=1))
        template = Template(model="")
        job = template.job(tools)
        assert (job.model, job.options.temperature, job.options.user) == ("rehearsal/small", 0.5, "u")
        assert (job.options.max_tokens, job.tool_choice, job.tools) == (9, "required", [TOOL])
        job = template.job(schema)
        assert (job.schema, job.schema_name, job.options.extra_body) == (SCHEMA, "n", {"own_field": 1})

    def test_has_its_own_options_though_it_has_the_shape_of_another(self) -> None:
        first, second, third = items(line("a", user="u"), line("b", user="v"), line("c"))
        assert [item.options.user if item.options else None for item in (first, second, third)] == ["u", "v", None]

    def test_names_an_alias_of_whoever_created_the_batch(self) -> None:
        (item,) = items(line(model="fast"), aliases={"fast": ["rehearsal/a", "rehearsal/b"]})
        assert (item.model, item.fallbacks) == ("rehearsal/a", ["rehearsal/b"])
        assert Template(model="", fallbacks=["x/y"]).job(item).fallbacks == ["rehearsal/b"]
        assert one_error(line(model="fast")) == ("model_not_found", "body.model")

    def test_names_a_model_that_somebody_can_call(self) -> None:
        def check(*models: str) -> None:
            if "rehearsal/small" not in models:
                raise ModelNotFound("nobody")

        assert one_error(line("b", model="openai/x"), check_models=check) == ("model_not_found", "body.model")

    def test_of_the_responses_api_keeps_what_its_answer_repeats(self) -> None:
        body = {"model": "rehearsal/small", "input": "Why?", "instructions": "Be short.", "max_output_tokens": 5}
        given = {"custom_id": "a", "method": "POST", "url": RESPONSES, "body": body}
        (item,) = items(given, endpoint=RESPONSES)
        assert item.response == {name: value for name, value in body.items() if name != "input"}
        assert item.messages == [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Why?"}]
        assert item.options is not None
        assert item.options.max_tokens == 5
        wrong = given | {"custom_id": "b", "body": body | {"background": True}}
        (error,) = rejected(given, wrong, endpoint=RESPONSES).errors
        assert (error.line, error.param) == (2, "body.background")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (b"{", ("invalid_json_line", None)),
        (b"[]", ("invalid_json_line", None)),
        (b"\xff", ("invalid_json_line", None)),
        (b"[" * 5000, ("invalid_json_line", None)),
        (b'{"x": "' + b"y" * 1024 * 1024 + b'"}', ("invalid_json_line", None)),
        ({"method": "POST", "url": CHAT, "body": {}}, ("missing_required_parameter", "custom_id")),
        (line("b") | {"body": []}, ("invalid_type", "body")),
        (line("b") | {"custom_id": 7}, ("invalid_type", "custom_id")),
        (line("") | {}, ("invalid_custom_id", "custom_id")),
        (line("x" * 513), ("invalid_custom_id", "custom_id")),
        (line("b") | {"method": "GET"}, ("invalid_method", "method")),
        (line("b", "/v1/embeddings"), ("invalid_url", "url")),
        (line("ok"), ("duplicate_custom_id", "custom_id")),
        (line("b", model=None), ("invalid_body", "body.model")),
        (line("b", model="small"), ("model_not_found", "body.model")),
        (line("b", messages=[]), ("invalid_body", "body.messages")),
        (line("b", messages=[{"role": "x", "content": ""}]), ("invalid_body", "body.messages[0].role")),
        (
            line("b", messages=[{"role": "user", "content": [{"type": "y"}]}]),
            ("invalid_body", "body.messages[0].content[0].type"),
        ),
        (line("b", temperature=9), ("invalid_body", "body.temperature")),
        (line("b", top_p="x"), ("invalid_body", "body.top_p")),
        (line("b", n=2), ("invalid_body", "body.n")),
        (line("b", stream=True), ("invalid_body", "body.stream")),
        (line("b", tools={}), ("invalid_body", "body.tools")),
        (line("b", api_key="secret"), ("invalid_body", "body.api_key")),
        (line("b", functions=[]), ("invalid_body", "body.functions")),
        (line("b", response_format={"type": "yaml"}), ("invalid_body", "body.response_format.type")),
        (line("b", headrace={"cache": True}), ("invalid_body", "body.headrace")),
    ],
)  # fmt: skip
def test_a_bad_line_is_told_with_its_number_and_place(given: Any, told: tuple[str, str | None]) -> None:
    assert one_error(given) == told


class TestManyBadLines:
    def test_are_all_counted_and_the_first_hundred_named(self) -> None:
        caught = rejected(*([b"{"] * 130), line())
        assert [error.line for error in caught.errors] == list(range(1, 101))
        assert caught.count == 130
        listed = caught.listed()
        assert (len(listed), listed[-1].code, listed[-1].line) == (101, "more_errors", None)
        assert "130 in all" in listed[-1].message
        assert caught.reason.startswith("130 of its lines cannot be used; line 1: ")

    def test_of_two_lines_with_one_name_both_are_named(self) -> None:
        (error,) = rejected(line("a"), line("b"), line("a")).errors
        assert error.line == 3
        assert "on line 1 and on line 3" in error.message

    @pytest.mark.parametrize("lines", [[], [b"", b"  "]])
    def test_no_line_is_an_error_of_the_file(self, lines: list[bytes]) -> None:
        (error,) = rejected(*lines).errors
        assert (error.code, error.line) == ("empty_file", None)

    def test_one_line_too_many_is_an_error_of_the_file(self) -> None:
        assert len(items(line("a"), line("b"), max_lines=2)) == 2
        (error,) = rejected(line("a"), line("b"), line("c"), max_lines=2).errors
        assert (error.code, error.line) == ("too_many_requests", None)

    def test_skipped_they_are_items_that_fail_under_names_of_their_own(self) -> None:
        found = items(line("line-2"), b"{", line("line-2"), skip_bad=True)
        assert [item.custom_id for item in found] == ["line-2", "line-2-1", "line-3"]
        assert [bool(item.refused) for item in found] == [False, True, True]
        assert found[2].refused == "line 3: custom_id 'line-2' is on line 1 and on line 3"


class TestRows:
    TEMPLATE = Template(model="rehearsal/small", prompt="Say {text} {n}")

    def test_are_fields_for_the_prompt(self) -> None:
        found = items(b'{"id": 7, "text": "x", "n": 1.10}', {"text": "y", "n": [1]}, template=self.TEMPLATE)
        assert [item.custom_id for item in found] == ["7", "line-2"]
        assert self.TEMPLATE.messages(found[0])[0]["content"] == "Say x 1.10", "digits as they were written"

    @pytest.mark.parametrize(
        ("given", "told"),
        [
            ({"text": "x"}, ("missing_required_parameter", "n")),
            ({"text": " ", "n": 1}, ("empty_field", "text")),
            ({"text": "x", "n": 1, "custom_id": []}, ("invalid_custom_id", "custom_id")),
            (b"7", ("invalid_json_line", None)),
        ],
    )
    def test_that_cannot_be_used_are_told(self, given: Any, told: tuple[str, str | None]) -> None:
        (error,) = rejected({"text": "x", "n": 1}, given, template=self.TEMPLATE).errors
        assert (error.line, error.code, error.param) == (2, *told)


def test_a_batch_with_a_schema_takes_no_other_from_its_lines() -> None:
    template = Template(model="", schema=SCHEMA)
    (item,) = items(line(), template=template)
    assert template.job(item).schema == SCHEMA
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}
    (error,) = rejected(line(response_format=form), template=template).errors
    assert error.param == "body.response_format"
