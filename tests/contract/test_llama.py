"""A real engine, llama.cpp, behind `VLLMChatCompletion` and behind a provider that settings alone have registered."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import pets
import pytest
from headrace_providers import ChatCompletion, Model, VLLMChatCompletion
from stack import started

from headrace.errors import CallError
from headrace.local.ports import free_port
from headrace.schema.modes import Mode

SUPPORT = Path(__file__).parents[1] / "support"
WRITE = "import pathlib, sys, tiny_model; tiny_model.write(pathlib.Path(sys.argv[1]))"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("llama")
    model = folder / "tiny.gguf"
    subprocess.run([sys.executable, "-c", WRITE, str(model)], cwd=SUPPORT, check=True, timeout=120)
    assert model.stat().st_size < 1 << 20
    port = free_port()
    command = [sys.executable, str(SUPPORT / "llama_server.py"), str(model), str(port)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)
    assert process.stdout
    assert process.stdin
    said = process.stdout.readline().split()
    assert said[:1] == ["ready"], (folder / "log").read_text()
    yield f"{said[1]}/v1"
    process.stdin.close()
    process.wait(20)
    process.stdout.close()


@pytest.fixture(params=["vllm", "registered"])
async def model(
    request: pytest.FixtureRequest, url: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[ChatCompletion]:
    options = {"retry": False, "max_tokens": 40, "seed": 3, "temperature": 0}
    if request.param == "vllm":
        made: ChatCompletion = VLLMChatCompletion("tiny", base_url=url, **options)
    else:
        monkeypatch.setenv("HEADRACE_PROVIDERS", json.dumps({"llama": {"like": "vllm", "base_url": url}}))
        made = Model.chat_completion("llama/tiny", **options)
    async with made:
        yield made


async def test_plain_and_streamed_are_the_same(model: ChatCompletion) -> None:
    plain = await model.acall("Say something.")
    stream = await model.acall("Say something.", stream=True)
    pieces = [piece async for piece in stream.consume()]
    assert len(pieces) > 1
    assert "".join(pieces) == stream.data == plain.data
    assert plain.metadata["finish_reason"] == stream.metadata["finish_reason"]
    for response in (plain, stream):
        assert 0 < response.metadata["usage"]["completion_tokens"] <= 40


class Reading(msgspec.Struct):
    """Nothing in it may go on for ever: a random model does."""

    value: Annotated[int, msgspec.Meta(ge=0, le=99)]
    unit: Literal["m", "s"]
    sizes: Annotated[list[Literal["small", "large"]], msgspec.Meta(max_length=3)]
    ok: bool | None = None


async def test_an_answer_is_constrained_by_the_schema(model: ChatCompletion) -> None:
    """A random model cannot write JSON by itself: what fits was forced by the engine, through the lowered schema."""
    seen = set()
    for seed in range(6):
        more = {"max_tokens": 400, "seed": seed, "temperature": 1}
        response = await model.acall("Read.", generation_schema=Reading, extra_body=more)
        msgspec.convert(response.data, Reading)
        seen.add(json.dumps(response.data))
    assert len(seen) > 1


@pytest.mark.parametrize("mode", ["strict", "json_schema"])
async def test_a_model_with_unions_maps_and_dates_is_constrained(url: str, mode: Mode) -> None:
    options = {"retry": False, "max_tokens": 900, "temperature": 1}
    async with VLLMChatCompletion("tiny", base_url=url, mode=mode, **options) as model:
        seen, misfits = [], []
        for seed in range(8):
            try:
                response = await model.acall("Who?", generation_schema=pets.Owner, extra_body={"seed": seed})
                seen.append(pets.Owner.model_validate(response.data))
            except CallError as error:
                misfits += error.details["errors"]
    # Its grammar knows the form of a date, not the calendar: 31 November is what validation is there for.
    assert all('is not a "date"' in misfit for misfit in misfits), misfits
    assert len({owner.model_dump_json() for owner in seen}) > 1
    assert len(seen) >= 5
    assert mode == "json_schema" or any(owner.pets for owner in seen), "there all but the name may be left out"


async def test_a_prompt_that_is_too_long(model: ChatCompletion) -> None:
    for stream in (False, True):
        with pytest.raises(CallError, match="context size") as raised:
            await model.acall("long " * 3000, stream=stream)
        assert (raised.value.code, raised.value.status, raised.value.retryable) == ("invalid_request", 400, False)


async def test_a_client_that_leaves_early_leaves_a_server_that_answers(model: ChatCompletion) -> None:
    for _ in range(6):  # more than it has slots: each is free again only because the engine stopped
        stream = await model.acall("Say a lot.", stream=True, extra_body={"max_tokens": 900})
        await stream.aclose()
    async with asyncio.timeout(30):
        assert (await model.acall("Say something.")).metadata["usage"]


async def test_side_by_side(model: ChatCompletion) -> None:
    answers = await asyncio.gather(*(model.acall("Say something.", stream=number % 2 == 0) for number in range(12)))
    for answer in answers:
        response = await answer.response() if hasattr(answer, "response") else answer
        assert response.metadata["usage"]["completion_tokens"]


async def test_through_the_queue(url: str, tmp_path: Path) -> None:
    providers = json.dumps({"llama": {"like": "vllm", "base_url": url}})
    with started(tmp_path, environment={"HEADRACE_PROVIDERS": providers}) as stack:
        (tmp_path / "pets.py").write_text((SUPPORT / "pets.py").read_text())
        (tmp_path / "in.jsonl").write_text('{"text":"a"}\n{"text":"b"}\n')
        words = (
            "--schema",
            "pets:Owner",
            "--model",
            "llama/tiny",
            "-o",
            "max_tokens=900",
            "-o",
            "temperature=1",
            "--reasks",
            "5",
        )
        done = await asyncio.to_thread(stack.run, "extract", "in.jsonl", *words, "--out", "rows.jsonl")
        assert done.returncode == 0, done.stderr
        rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
        assert [pets.Owner.model_validate(row["value"]) for row in rows]
        arguments = ("--model", "llama/tiny", "-o", "max_tokens=20", "-o", "temperature=0", "--json")
        done = await asyncio.to_thread(stack.run, "run", "Say something.", *arguments)
        assert done.returncode == 0, done.stderr
        completion = json.loads(done.stdout)
        assert (completion["deployment"], completion["usage"]["output_tokens"]) == ("llama", 20)
