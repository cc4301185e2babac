"""Templates and prompts: what items share, and how an item becomes a conversation."""

from __future__ import annotations

import msgspec
import pytest

from headrace.batches.prompt import prompt_fields, render
from headrace.batches.template import Item, Template
from headrace.errors import InputError

SCHEMA = {"type": "object", "properties": {"zeta": {"type": "string"}, "alpha": {"type": "string"}}}


def test_a_schemas_order_travels_because_models_answer_in_it() -> None:
    _, body = Template(model="m", schema=SCHEMA).encoded()
    schema = msgspec.json.decode(body)["schema"]
    assert list(schema["properties"]) == ["zeta", "alpha"]


def test_equal_templates_have_one_hash() -> None:
    assert Template(model="m", schema=SCHEMA).encoded() == Template(model="m", schema={**SCHEMA}).encoded()
    assert Template(model="m").encoded() != Template(model="n").encoded()


def test_a_prompts_places_are_filled_with_text_as_it_is_and_the_rest_as_json() -> None:
    assert render("{a} {{}} {b}", {"a": "x{y}", "b": [1, None]}) == "x{y} {} [1,null]"


def test_a_job_has_the_system_message_first() -> None:
    job = Template(model="m", prompt="Q: {text}", system="S").job(Item(custom_id="a", fields={"text": "t"}))
    assert job.messages == [{"role": "system", "content": "S"}, {"role": "user", "content": "Q: t"}]


@pytest.mark.parametrize("prompt", ["{", "}", "{}", "{a!r}", "{a:>3}", "{a"])
def test_braces_that_make_no_place_are_refused(prompt: str) -> None:
    with pytest.raises(InputError, match="literal braces"):
        prompt_fields(prompt)
