"""Whole conversations as templates, Jinja, and parts of a request that are each item's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headrace.batches.build import make_template
from headrace.batches.inputs.reading import Reading
from headrace.batches.media.references import Blob
from headrace.batches.template import Item, Template
from headrace.errors import InputError
from headrace.jobs.job import Job

FEW_SHOTS = [
    {"role": "system", "content": "Rate in {language}."},
    {"role": "user", "content": "It broke."},
    {"role": "assistant", "content": '{"stars": 1}'},
    {"role": "user", "content": [{"type": "text", "text": "{text}"}]},
]


def read(source: Any, *, model: str = "rehearsal/x", **words: Any) -> tuple[Template, list[Item]]:
    own = {name: words.pop(name) for name in ("schema", "tools", "tool_choice", "mode") if name in words}
    told = {name: words.pop(name) for name in ("prompt", "system", "messages") if name in words}
    language = words.pop("template", None)
    template, _ = make_template(model, told.pop("prompt", "{text}"), template=language, **told, **own)
    if "prompt" not in told and language is not None:
        told["prompt"] = "{{ text }}"
    rows = Reading(source, template, language=language, **told, **words)
    return rows.template, [item for item in rows.items() if not isinstance(item, Blob)]


def asked(source: Any, **words: Any) -> list[Job]:
    template, items = read(source, **words)
    return [template.job(item) for item in items]


def jinja(prompt: str, source: Any, **words: Any) -> list[Any]:
    template, _ = make_template("rehearsal/x", prompt, template="jinja", system=words.get("system"))
    rows = Reading(source, template, language="jinja", prompt=prompt, **words)
    return [rows.template.job(item).messages for item in rows.items() if isinstance(item, Item)]


def test_a_conversation_is_filled_for_each_item_and_its_examples_stay() -> None:
    (job,) = asked([{"text": "{quiet}", "language": "German"}], messages=FEW_SHOTS)
    assert job.messages == [
        {"role": "system", "content": "Rate in German."},
        *FEW_SHOTS[1:3],
        {"role": "user", "content": [{"type": "text", "text": "{quiet}"}]},
    ]


def test_an_item_of_a_conversation_carries_only_its_fields() -> None:
    template, (item,) = read([{"text": "a", "language": "b", "other": "c"}], messages=FEW_SHOTS)
    assert item == Item(custom_id="line-1", fields={"language": "b", "text": "a"})
    assert template.conversation == FEW_SHOTS


@pytest.mark.parametrize(
    ("messages", "place"),
    [
        ([], "messages: /:"),
        ([{"role": "reader", "content": "{text}"}], "messages: /0/role:"),
        ({"messages": [{"role": "user", "content": 1}]}, "messages: /messages/0/content:"),
        ([{"role": "user", "content": "{text"}], "messages: /0/content:"),
        ([{"role": "user", "content": [{"type": "text", "text": "{text!r}"}]}], "messages: /0/content/0/text:"),
        ([{"role": "user", "content": "x" * 300_000}], "has 300"),
    ],
)
def test_a_conversation_that_is_none_is_refused_with_its_place(messages: Any, place: str) -> None:
    with pytest.raises(InputError, match=place):
        read([{"text": "a"}], messages=messages)


def test_a_conversation_without_a_place_and_a_prompt_beside_one_are_refused() -> None:
    with pytest.raises(InputError, match="ask the same"):
        read([{"text": "a"}], messages=[{"role": "user", "content": "Hello"}])
    with pytest.raises(InputError, match="items bring their conversations"):
        read([{"messages": FEW_SHOTS}], messages=FEW_SHOTS, per_item="messages")
    with pytest.raises(InputError, match="leave one of the two out"):
        read([{"text": "a"}], messages=FEW_SHOTS, prompt="{text}?")


def test_jinja_has_conditions_loops_and_the_digits_of_numbers(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text('{"tags": ["a", "b"], "price": 1.10, "note": null}\n{"tags": [], "price": 2.50, "note": "x<y"}\n')
    prompt = (
        "{% for tag in tags %}{{ loop.index }}:{{ tag }} {% endfor %}{{ price }}"
        "{% if note %} {{ note | tojson }}{% endif %}{% if price > 2 %} dear{% endif %} {{ tags }}"
    )
    talks = jinja(prompt, source)
    assert [talk[0]["content"] for talk in talks] == ['1:a 2:b 1.10 ["a","b"]', '2.50 "x<y" dear []']


def test_jinja_names_the_line_of_what_is_wrong() -> None:
    with pytest.raises(InputError, match=r"prompt, line 2: .*endif"):
        jinja("{% if a %}\n{% endfor %}", [{"a": 1}])
    with pytest.raises(InputError, match=r"item 1: prompt, line 2: 'nmae' is undefined. Fields there: name"):
        jinja("Hello\n{{ nmae }} {{ name }}", [{"name": "x"}])
    with pytest.raises(InputError, match="ask the same"):
        jinja("Hello", [{"name": "x"}])


@pytest.mark.parametrize(
    "attack",
    [
        "{{ text.__class__.__mro__ }}",
        "{{ ''.__class__ }}{{ text }}",
        "{{ text * 1000000000 }}",
        "{{ [text] * 100000000 }}",
        "{{ 9 ** 999 }}{{ text }}",
        "{% include '/etc/passwd' %}{{ text }}",
        "{% for a in range(100000) %}{{ text }}-------------------------{% endfor %}",
        "{{ text.format_map(text) }}{{ self._TemplateReference__context }}",
    ],
)
def test_a_template_reaches_nothing_beyond_its_fields(attack: str) -> None:
    with pytest.raises(InputError, match=r"item 1: prompt(, line 1)?: "):
        jinja(attack, [{"text": "a"}])


def test_a_bad_row_of_a_template_is_one_row() -> None:
    talks = jinja("{{ 6 // n }}", [{"n": 3}, {"n": 0}, {"n": 2}], on_bad_row="skip")
    assert [talk[0]["content"] for talk in talks] == ["2", "3"]


def test_columns_that_are_not_named_are_data() -> None:
    (job,) = asked(
        [{"text": "a", "model": "gpt-9", "system": "s", "tools": "t", "options": "o"}], prompt="{text} {model}"
    )
    assert (job.model, job.messages, job.tools) == ("rehearsal/x", [{"role": "user", "content": "a gpt-9"}], None)
    with pytest.raises(InputError, match="--per-item messages"):
        asked([{"messages": [{"role": "user", "content": "hi"}]}])


def test_an_items_own_parts_take_the_place_of_the_batchs() -> None:
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
    rows = [
        {
            "id": "a",
            "messages": [{"role": "user", "content": "hi"}],
            "system": "Be brief.",
            "llm": "vllm/tiny",
            "tools": [tool],
            "tool_choice": "look",
            "options": {"temperature": 0.5, "max_completion_tokens": 9, "mystery": 1},
        },
        {"id": "b", "messages": [{"role": "user", "content": "yo"}], "llm": None},
    ]
    parts = {"messages": "messages", "system": "system", "model": "llm", "tools": "tools"}
    parts |= {"tool_choice": "tool_choice", "options": "options"}
    first, second = asked(rows, per_item=parts, system="All.", tools=[tool | {"type": "function"}])
    assert first.model == "vllm/tiny"
    assert first.messages == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}]
    assert (first.tools, first.tool_choice) == ([tool], "look")
    assert (first.options.temperature, first.options.max_tokens, first.options.extra_body) == (0.5, 9, {"mystery": 1})
    assert second.model == "rehearsal/x"
    assert second.messages == [{"role": "system", "content": "All."}, {"role": "user", "content": "yo"}]
    assert second.tools == [tool]


def test_own_parts_go_with_a_prompt() -> None:
    (job,) = asked(
        [{"text": "a", "system": "S", "temp": {"temperature": 0}}], per_item="system,options=temp", prompt="Q {text}"
    )
    assert job.messages == [{"role": "system", "content": "S"}, {"role": "user", "content": "Q a"}]
    assert job.options.temperature == 0


@pytest.mark.parametrize("part", ["model", "system", "tools", "options"])
def test_a_column_that_no_item_has_is_refused(tmp_path: Path, part: str) -> None:
    (tmp_path / "in.csv").write_text("text\na\nb\n")
    words: dict[str, Any] = {"per_item": f"{part}=nope", "prompt": "Q {text}"}
    with pytest.raises(InputError, match=f"no item has a field `nope`, which --per-item .* names as its {part}"):
        asked(tmp_path / "in.csv", **words)
    assert len(asked(tmp_path / "in.csv", limit=1, **words)) == 1, "others may have it"
    assert len(asked([{"text": "a"}, {"text": "b", "nope": None}], **words)) == 2


def test_messages_come_from_cells_of_csv_and_structs_of_parquet(tmp_path: Path) -> None:
    talk = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "type": "function"}]},
        {"role": "tool", "content": "4", "tool_call_id": "1"},
    ]
    (tmp_path / "in.csv").write_text(
        f'id,messages\na,"{json.dumps(talk[:1])}"\n'.replace('"role"', '""role""')
        .replace('"user"', '""user""')
        .replace('"content"', '""content""')
        .replace('"hi"', '""hi""')
    )
    (job,) = asked(tmp_path / "in.csv", per_item="messages")
    assert job.messages == talk[:1]
    pq.write_table(pa.table({"messages": pa.array([talk])}), tmp_path / "in.parquet")
    (job,) = asked(tmp_path / "in.parquet", per_item=["messages"])
    assert job.messages == [talk[0], {"role": "assistant", "tool_calls": [{"id": "1", "type": "function"}]}, talk[2]]


@pytest.mark.parametrize(
    ("row", "per_item", "complaint"),
    [
        ({"text": "a"}, "messages", "field `messages`, its messages"),
        ({"messages": None}, "messages", "item 1: /messages: is empty"),
        ({"messages": "hi"}, "messages", "item 1: /messages: must be a list of messages, as JSON"),
        ({"messages": [{"role": "user"}]}, "messages", "item 1: /messages/0/content: "),
        ({"talk": [{"role": "x", "content": "a"}]}, "messages=talk", "item 1: /talk/0/role: "),
        ({"text": "a", "system": 3}, "system", "item 1: /system: must be a text"),
        ({"text": "a", "model": "nonsense"}, "model", "item 1: /model: .*no alias"),
        ({"text": "a", "tools": {"a": 1}}, "tools", "item 1: /tools: must be a list"),
        ({"text": "a", "tools": "[{"}, "tools", "item 1: /tools: not JSON"),
        ({"text": "a", "options": [1]}, "options", "item 1: /options: must be an object"),
        ({"text": "a", "options": {"temperature": 9}}, "options", "item 1: .*temperature"),
        ({"text": "a", "options": {"api_base": "http://x"}}, "options", "item 1: /options/api_base: "),
        ({"text": "a", "options": {"model": "x"}}, "options", "item 1: /options/model: is no option"),
        ({"text": "a"}, "prompt", "'prompt' is none of"),
        ({"text": "a"}, "system,system=b", "names system twice"),
        ({"text": "a"}, 3, "per_item"),
    ],
)
def test_own_parts_that_cannot_be_used_are_refused_with_their_place(row: Any, per_item: Any, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        asked([row], per_item=per_item)


def test_tools_are_the_batchs_and_checked_as_a_jobs() -> None:
    def look(place: str) -> str:
        """Look there."""
        return place

    (job,) = asked([{"text": "a"}], tools=[look], tool_choice="look")
    assert job.tools is not None
    assert (job.tools[0]["function"]["name"], job.tool_choice) == ("look", "look")
    with pytest.raises(InputError, match="no tools to choose from"):
        asked([{"text": "a"}], tool_choice="look")
    with pytest.raises(InputError, match="mode='tool_call'"):
        asked([{"text": "a"}], tools=[look], mode="tool_call", schema={"type": "object", "properties": {}})
