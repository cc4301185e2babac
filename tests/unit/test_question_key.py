"""Two requests have one key when an answer to one is an answer to the other, and else two."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from headrace.batches.build import make_template
from headrace.batches.template import Item
from headrace.jobs.build import make_job
from headrace.jobs.job import Job
from headrace.jobs.question_key import QuestionKeys, key_of, with_messages

DEPLOYMENT = "openai https://api.openai.com/v1 m strict"
SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "integer"}, "b": {"type": "string"}},
    "required": ["a", "b"],
    "additionalProperties": False,
}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}


def key(job: Job, *, secret: bytes = b"s" * 32, tenant: str = "default", deployments: str = DEPLOYMENT) -> str:
    return QuestionKeys(secret, tenant).of_job(job, deployments)


def job(text: str = "x", **words: Any) -> Job:
    return make_job("openai/m", text, **words)[0]


@pytest.mark.parametrize(
    "other",
    [
        job("y"),
        job(temperature=0),
        job(seed=1),
        job(schema=SCHEMA),
        job(tools=[TOOL]),
        job(system="s"),
        job(prefilling="p"),
        job(variant="v"),
        job(n=2),
        msgspec.structs.replace(job(), response_format={"type": "json_object"}),
        msgspec.structs.replace(job(), parser="typed_xml"),
        msgspec.structs.replace(job(), messages=[{"role": "user", "content": "x"}, {"role": "user", "content": "x"}]),
    ],
)
def test_what_an_answer_depends_on_is_another_question(other: Job) -> None:
    assert key(other) != key(job())


def test_a_schema_is_told_by_the_order_of_its_keys_and_by_how_it_is_read() -> None:
    turned = SCHEMA | {"properties": dict(reversed(SCHEMA["properties"].items()))}  # type: ignore[attr-defined]
    keys = {key(job(schema=each)) for each in (SCHEMA, turned)} | {key(job(schema=SCHEMA, lax=True))}
    assert len(keys) == 3


def test_secret_tenant_and_deployment_are_part_of_it() -> None:
    same = job()
    keys = {key(same), key(same, secret=b"t" * 32), key(same, tenant="acme"), key(same, deployments="other")}
    assert len(keys) == 4


@pytest.mark.parametrize(
    "words", [{"stream": True, "on_retry": "reset"}, {"cache": True}, {"cache": "refresh"}, {"stream": True}]
)
def test_how_an_answer_is_delivered_is_not(words: dict[str, Any]) -> None:
    assert key(job(**words)) == key(job())


def test_messages_are_the_same_whatever_the_order_of_their_fields() -> None:
    first, second = ([{"role": "user", "content": "x"}], [{"content": "x", "role": "user"}])
    assert key(msgspec.structs.replace(job(), messages=first)) == key(msgspec.structs.replace(job(), messages=second))


def test_a_line_of_a_batch_asks_what_a_job_asks() -> None:
    template, _ = make_template("openai/m", "Say {text}.", system="Be brief.", schema=SCHEMA, temperature=0)
    keys = QuestionKeys(b"s" * 32, "default")
    begun = keys.begun(template.job(Item(custom_id="", messages=[])), DEPLOYMENT)
    shared = with_messages(begun, template.job(Item(custom_id="", messages=[])).messages)
    asked = template.job(Item(custom_id="1", fields={"text": "hello"}))
    assert key_of(shared, asked.messages[1:]) == key(
        job("Say hello.", system="Be brief.", schema=SCHEMA, temperature=0)
    )


def test_a_part_cannot_pass_for_another() -> None:
    begun = QuestionKeys(b"s" * 32, "default").begun(job(), DEPLOYMENT)
    parts = [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]
    assert key_of(begun, parts) != key_of(begun, [{"role": "user", "content": 'a"}{"role":"user","content":"b'}])
