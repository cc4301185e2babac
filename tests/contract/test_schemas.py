"""A Pydantic model with nested unions, optional maps and dates, through the whole service: each dialect, each mode, and a
real engine that decodes under constraint."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import msgspec
import pets
import pytest
from stack import Stack, headrace

from headrace import AsyncHeadrace
from headrace.schema import lower
from headrace.schema.modes import MODES
from headrace.settings import Settings

MODELS = ("rehearsal/small", "vllm/small", "openrouter/vendor/small")
TEXTS = [
    {"id": f"i{n}", "text": f"Ada has {n} cats and a good dog since 2020. It can roll {n} times."} for n in range(4)
]
SUPPORT = Path(__file__).parents[1] / "support"


async def extracted(client: AsyncHeadrace, model: str, schema: Any, mode: Any, **words: Any) -> list[Any]:
    batch = await client.extract(TEXTS, "From: {text}", model=model, schema=schema, mode=mode, **words)
    return [row async for row in batch.results()]


@pytest.mark.parametrize("model", MODELS)
async def test_every_mode_gives_valid_instances(stack: Stack, model: str) -> None:
    settings = Settings.load(stack.client_environment)
    given = [pets.Owner, pets.Owner.model_json_schema()]
    async with AsyncHeadrace(stack.ready["redis"], settings=settings) as client:
        ways = [(schema, mode) for schema in given for mode in (None, *MODES)]
        answers = await asyncio.gather(*(extracted(client, model, schema, mode) for schema, mode in ways))
    for (schema, mode), rows in zip(ways, answers, strict=True):
        assert [row.custom_id for row in rows] == ["i0", "i1", "i2", "i3"]
        for row in rows:
            assert row.ok, (mode, row.error)
            value = row.value if schema is pets.Owner else pets.Owner.model_validate(row.value)
            assert isinstance(value, pets.Owner)
            assert value.pets
            assert row.completion.mode == (mode or "strict")


def test_the_shell_takes_the_type_and_its_json_schema(stack: Stack) -> None:
    source = stack.folder / "owners.jsonl"
    source.write_text("".join(json.dumps(line) + "\n" for line in TEXTS))
    schema = stack.folder / "owner.json"
    schema.write_text(json.dumps(pets.Owner.model_json_schema()))
    (stack.folder / "pets.py").write_text((SUPPORT / "pets.py").read_text())
    for given in ("pets:Owner", str(schema)):
        out = stack.folder / "rows.jsonl"
        words = (
            "--prompt",
            "From: {text}",
            "--model",
            MODELS[0],
            "--out",
            str(out),
            "--force",
            "--reasks",
            "1",
            "--lax",
        )
        done = stack.run("extract", str(source), "--schema", given, *words)
        assert done.returncode == 0, done.stderr
        rows = [json.loads(line) for line in out.read_text().splitlines()]
        assert [pets.Owner.model_validate(row["value"]) for row in rows]


def test_a_types_schema_is_a_file_that_asks_for_the_same(tmp_path: Path) -> None:
    (tmp_path / "pets.py").write_text((SUPPORT / "pets.py").read_text())

    def schema(*words: str) -> tuple[int, str, str]:
        done = headrace("schema", *words, cwd=tmp_path)
        return done.returncode, done.stdout, done.stderr

    code, printed, _ = schema("init", "pets:Owner")
    assert code == 0
    assert schema("init", "pets:Owner", "--out", "owner.json")[0] == 0
    assert (tmp_path / "owner.json").read_text() == printed
    assert schema("check", "owner.json")[1] == schema("check", "pets:Owner")[1]
    code, _, said = schema("init", "pets:Owner", "--out", "owner.json")
    assert (code, "exists already" in said) == (2, True)
    assert (tmp_path / "owner.json").read_text() == printed, "what was there is as it was"
    for wrong in ("owner.json", "pets:Owners", "nowhere:Owner", "pets"):
        code, _, said = schema("init", wrong)
        assert (code, wrong in said, "Traceback" in said) == (2, True, False)


def test_an_answer_that_misses_is_asked_for_again(stack: Stack) -> None:
    """The stand-in misses the schema once for each job, then hits it; both calls are in its account and in the counters."""
    before = len(stack.calls())
    prompt = "[[rehearsal fault=miss times=1]] Ada has a cat."
    words = ("--model", MODELS[0], "--schema", str(owner_schema(stack)), "--reasks", "2", "--json")
    done = stack.run("run", prompt, *words)
    assert done.returncode == 0, done.stderr
    completion = json.loads(done.stdout)
    assert completion["reasks"] == 1
    assert len(stack.calls()) - before == 2


async def test_a_batch_counts_what_was_mended_and_asked_for_again(stack: Stack) -> None:
    prompts = [
        "[[rehearsal fault=malformed]] Ada has a cat.",
        "[[rehearsal fault=miss,times=1]] Bo has a dog.",
        "Cy has none.",
    ]
    async with AsyncHeadrace(stack.ready["redis"], settings=Settings.load(stack.client_environment)) as client:
        batch = await client.extract(prompts, model=MODELS[0], schema=pets.Owner, reasks=1)
        rows = [row async for row in batch.results()]
        known = await batch.wait(30)
    assert [row.ok for row in rows] == [True] * 3
    read = [(row.completion.repaired, row.completion.reasks) for row in rows]
    assert read[0] == (True, 0)
    assert read[1] == (False, 1)
    assert (known.repaired, known.coerced, known.reasks) == (
        sum(mended for mended, _ in read),
        0,
        sum(n for _, n in read),
    )


def owner_schema(stack: Stack) -> Path:
    path = stack.folder / "owner.json"
    path.write_text(json.dumps(pets.Owner.model_json_schema()))
    return path


async def test_roots_that_are_no_objects(stack: Stack) -> None:
    settings = Settings.load(stack.client_environment)
    schemas: list[Any] = [
        {"type": "array", "items": {"type": "string"}},
        {"enum": ["a", "b"]},
        {"anyOf": [{"type": "null"}, {"type": "boolean"}]},
        {"type": "null"},
    ]
    async with AsyncHeadrace(stack.ready["redis"], settings=settings) as client:
        for schema in schemas:
            (row, *_) = await extracted(client, MODELS[0], schema, None)
            lower(schema).validate(row.value)
            job = await client.submit(MODELS[0], "One two.", schema=schema)
            lower(schema).validate(await job.result())


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("check", "pets:Owner"), 0, "Travels in another shape"),
        (("check", "pets:Owner", "--target", "vllm", "--json"), 0, '"wire"'),
        (("check", "remote.json"), 1, "/$ref"),
        (("check", "remote.json", "--json"), 1, '"pointer":"/$ref"'),
        (("check", "none.json"), 2, "/type"),
        (("check", "broken.json"), 2, "not JSON"),
        (("check", "missing.json"), 2, "No such file"),
        (("check", "pets:Nobody"), 2, "no Nobody"),
        (("check", "leaves:Type"), 2, "SystemExit"),
        (("check", "-"), 0, "Travels in another shape"),
        (("check", "pets:Owner", "--target", "nope"), 2, "openrouter"),
        (("validate", "pets:Owner", "good.json"), 0, "valid"),
        (("validate", "pets:Owner", "bad.json"), 1, "/pets/0/lives"),
        (("validate", "pets:Owner", "bad.json", "--json"), 1, '"pointer":"/name"'),
        (("validate", "pets:Owner", "broken.json"), 2, "not JSON"),
        (("validate", "remote.json", "good.json"), 2, "/$ref"),
    ],
)
def test_the_schema_command(tmp_path: Path, arguments: tuple[str, ...], code: int, said: str) -> None:
    files: dict[str, Any] = {
        "remote.json": {"$ref": "https://x.y/z"},
        "none.json": {"type": 5},
        "good.json": {"name": "a"},
        "bad.json": {"name": 3, "pets": [{"kind": "cat", "lives": 12}]},
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(msgspec.json.encode(content))
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "pets.py").write_text((SUPPORT / "pets.py").read_text())
    (tmp_path / "leaves.py").write_text("raise SystemExit(1)")
    done = headrace("schema", *arguments, cwd=tmp_path, input='{"type": "array", "items": {}}')
    assert done.returncode == code, done.stderr
    assert said in done.stdout + done.stderr
