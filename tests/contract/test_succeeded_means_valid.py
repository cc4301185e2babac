"""*Succeeded* means one thing over every mode, dialect and path: whole, read again as it was stored, valid under the caller's
own schema, and taken by the caller's type. Asked with texts that make the provider answer well and badly."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

import jsonschema_rs
import openai
import pydantic
import pytest
from headrace_providers import ChatCompletion, OpenAIChatCompletion, OpenRouterChatCompletion, VLLMChatCompletion
from stack import Stack

from headrace import AsyncHeadrace
from headrace.errors import CallError, JobFailed
from headrace.schema.modes import MODES, Mode
from headrace.settings import Settings

DIALECTS: dict[str, tuple[str, type[ChatCompletion]]] = {
    "rehearsal/small": ("", OpenAIChatCompletion),
    "vllm/small": ("/vllm", VLLMChatCompletion),
    "openrouter/vendor/small": ("/openrouter", OpenRouterChatCompletion),
}


class Guest(pydantic.BaseModel):
    name: Annotated[str, pydantic.Field(min_length=1, max_length=40)]
    age: Annotated[int, pydantic.Field(ge=0, le=120)]


class Stay(pydantic.BaseModel):
    """What the schema can say (limits, an enum, a map by number), and one rule that it cannot."""

    code: Annotated[str, pydantic.Field(pattern="^[A-Z]{3}[0-9]{4}$")]
    nights: Annotated[int, pydantic.Field(ge=1, le=30)]
    guests: Annotated[list[Guest], pydantic.Field(min_length=1, max_length=4)]
    prices: dict[int, float]
    paid: bool | None = None

    @pydantic.field_validator("nights")
    @classmethod
    def odd(cls, nights: int) -> int:
        if nights % 2 == 0:
            raise ValueError("an even number of nights")
        return nights


SCHEMA = Stay.model_json_schema()
VALID = jsonschema_rs.Draft202012Validator(SCHEMA, validate_formats=True)
FAULTS = ("", "miss", "malformed", "refusal", "length", "content_filter")
TEXTS = [
    f"[[rehearsal fault={fault}]] Guest {n} stays." if fault else f"Guest {n} stays {n} nights."
    for fault in FAULTS
    for n in range(5 if not fault else 2)
]
CODES = {"invalid_output", "refusal", "truncated", "content_filter", "empty_output"}
Answers = list[tuple[Any, str | None]]
"""For each text the value of a success, or the code of a failure."""


@pytest.fixture
async def client(stack: Stack) -> AsyncIterator[AsyncHeadrace]:
    async with AsyncHeadrace(stack.ready["redis"], settings=Settings.load(stack.client_environment)) as client:
        yield client


async def direct(stack: Stack, model: str, schema: Any, mode: Mode) -> Answers:
    prefix, provider = DIALECTS[model]
    name = model.partition("/")[2]
    made = provider(name, base_url=f"{stack.ready['rehearsal']}{prefix}/v1", api_key="none", retry=False, mode=mode)

    async def one(text: str) -> tuple[Any, str | None]:
        try:
            return (await made.acall(text, generation_schema=schema)).data, None
        except CallError as error:
            return None, error.code

    async with made:
        return await asyncio.gather(*map(one, TEXTS))


async def by_jobs(client: AsyncHeadrace, model: str, schema: Any, mode: Mode, **words: Any) -> Answers:
    async def one(text: str) -> tuple[Any, str | None]:
        job = await client.submit(model, text, schema=schema, mode=mode, **words)
        try:
            return await job.result(), None
        except JobFailed as failed:
            return None, failed.failure.code

    return await asyncio.gather(*map(one, TEXTS))


async def by_batch(client: AsyncHeadrace, model: str, schema: Any, mode: Mode) -> Answers:
    batch = await client.extract(TEXTS, model=model, schema=schema, mode=mode)
    rows = [row async for row in batch.results()]
    summary = await batch.wait(30)
    assert summary.succeeded == sum(row.ok for row in rows)
    return [(row.value, None) if row.ok else (None, row.error.code) for row in rows]


def check(answers: Answers, schema: Any, mode: Mode) -> None:
    assert len(answers) == len(TEXTS)
    assert sum(code is None for _, code in answers) >= 2, answers
    for text, (value, code) in zip(TEXTS, answers, strict=True):
        if code is not None:
            assert code in CODES, (mode, text, code)
        elif schema is Stay:
            assert isinstance(value, Stay), (mode, text)
            assert Stay.model_validate(value.model_dump()) == value
        else:
            VALID.validate(value)
            assert json.loads(json.dumps(value, allow_nan=False)) == value
    bad = [code for text, (_, code) in zip(TEXTS, answers, strict=True) if "fault=miss" in text]
    assert None not in bad, (mode, "what misses the schema is no success")


@pytest.mark.parametrize("model", DIALECTS)
@pytest.mark.parametrize("schema", [SCHEMA, Stay], ids=["schema", "type"])
async def test_over_every_path_and_mode(stack: Stack, client: AsyncHeadrace, model: str, schema: Any) -> None:
    for mode in MODES:
        paths = await asyncio.gather(
            *([direct(stack, model, schema, mode)] if schema is not Stay else []),
            by_jobs(client, model, schema, mode),
            by_jobs(client, model, schema, mode, cache=True),
            by_batch(client, model, schema, mode),
        )
        kept = await by_jobs(client, model, schema, mode, cache=True)
        for answers in (*paths, kept):
            check(answers, schema, mode)
            assert answers == paths[0], (mode, "every path says the same")


@pytest.mark.parametrize("model", DIALECTS)
async def test_over_the_gateway(stack: Stack, client: AsyncHeadrace, model: str) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "stay", "schema": SCHEMA}}
    async with openai.AsyncOpenAI(base_url=f"{stack.ready['gateway']}/v1", api_key="none", max_retries=0) as official:

        async def one(text: str) -> tuple[Any, str | None]:
            talk: Any = [{"role": "user", "content": text}]
            try:
                answer = await official.chat.completions.create(
                    model=model,
                    messages=talk,
                    response_format=wanted,  # type: ignore[arg-type]
                )
            except openai.APIStatusError as error:
                return None, str(error.code)
            return json.loads(answer.choices[0].message.content or ""), None

        answers = list(await asyncio.gather(*map(one, TEXTS)))
    check(answers, SCHEMA, "strict")
    assert answers == await by_jobs(client, model, SCHEMA, "strict")
