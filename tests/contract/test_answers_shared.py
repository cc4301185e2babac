"""The same question is paid once: over all workers, by jobs, streams and batches, judged by the provider's own account."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fleet import client_of, more_workers
from stack import Stack, started, until

from headrace import AsyncHeadrace

MODEL = "rehearsal/small"
JOBS = 400


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with (
        started(tmp_path_factory.mktemp("service"), "--no-flower") as stack,
        more_workers(stack, "interactive", "interactive", "interactive", "bulk"),
    ):
        yield stack


def write(stack: Stack, name: str, texts: list[str]) -> Path:
    source = stack.folder / name
    source.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return source


def extract(stack: Stack, source: Path, *arguments: str) -> list[dict[str, Any]]:
    done = stack.run("extract", str(source), "--model", MODEL, *arguments)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


async def answers_of(client: AsyncHeadrace, jobs: list[Any]) -> list[Any]:
    return list(await asyncio.gather(*(job.completion(90) for job in jobs)))


def prompts(stack: Stack, before: int) -> int:
    """The calls that the provider got since there were `before`."""
    return len(stack.calls()) - before


@pytest.mark.parametrize("stream", [False, True])
async def test_equal_jobs_at_once_over_all_workers_are_one_call(stream: bool, stack: Stack) -> None:
    before = len(stack.calls())
    async with client_of(stack) as client:
        question = f"[[rehearsal latency=1500]] What is a head race, stream={stream}?"
        jobs = await client.submit_many(MODEL, [question] * JOBS, cache=True, stream=stream)
        answers = await answers_of(client, jobs)
        logs = []
        for job in jobs[:: JOBS // 8]:
            logs.append("".join([piece async for piece in job.stream().text_deltas()]))
    assert prompts(stack, before) == 1
    assert len({answer.content for answer in answers}) == len({*logs, answers[0].content}) == 1
    assert sum(not answer.cached for answer in answers) == 1
    assert all(answer.cost == 0 for answer in answers if answer.cached)


async def test_when_the_worker_that_calls_is_killed_another_one_does(stack: Stack) -> None:
    before = len(stack.calls())
    async with client_of(stack) as client:
        question = "[[rehearsal latency=4000]] What is a tail race?"
        jobs = await client.submit_many(MODEL, [question] * 40, cache=True)
        await asyncio.to_thread(until, lambda: prompts(stack, before) == 1, what="the call is under way")
        owner = stack.client.keys("{hr}:flight:*")
        (flight,) = [stack.client.get(key).decode() for key in owner]
        pid = int(flight.partition(" ")[0].rsplit("-", 2)[1])
        os.kill(pid, signal.SIGKILL)
        answers = await answers_of(client, jobs)
    assert len({answer.content for answer in answers}) == 1
    assert prompts(stack, before) <= 2


def test_equal_lines_of_a_batch_are_paid_once_and_all_are_answered_in_order(stack: Stack) -> None:
    texts = [f"line {number}" for number in range(700)]
    texts = [*texts[:350], *(f"line {number}" for number in range(0, 600, 2)), *texts[350:]]
    before = len(stack.calls())
    rows = extract(stack, write(stack, "equal.jsonl", texts))
    assert prompts(stack, before) == 700
    assert [row["custom_id"] for row in rows] == [f"line-{number}" for number in range(1, 1001)]
    by_text: dict[str, set[str]] = {}
    for text, row in zip(texts, rows, strict=True):
        by_text.setdefault(text, set()).add(row["value"])
    assert all(len(values) == 1 for values in by_text.values())


def test_an_edited_file_pays_what_changed(stack: Stack) -> None:
    texts = [f"a text to edit, {number}" for number in range(1000)]
    first = extract(stack, write(stack, "edited.jsonl", texts))
    before = len(stack.calls())
    texts[::100] = [f"edited, {number}" for number in range(10)]
    second = extract(stack, write(stack, "edited.jsonl", texts))
    assert prompts(stack, before) == 10
    assert [row["value"] for row in first[1:100]] == [row["value"] for row in second[1:100]]


def test_the_mode_says_what_is_used(stack: Stack) -> None:
    source = write(stack, "modes.jsonl", ["one", "two", "two"])

    def calls(*arguments: str) -> int:
        before = len(stack.calls())
        extract(stack, source, "--option", "seed=1", *arguments)
        return prompts(stack, before)

    assert calls("--no-cache") == 3
    assert calls("--cache", "read") == 3, "nothing was kept"
    assert calls("--cache", "write") == 3
    assert calls("--cache", "read") == 0
    assert calls() == 0
    assert calls("--variant", "another") == 2
    assert calls("--cache", "refresh") == 3
    assert calls("--option", "temperature=0.5") == 3
    assert calls("--option", "temperature=0.5", "--cache", "on") == 2
    assert calls("--option", "temperature=0.5", "--cache", "on") == 0
