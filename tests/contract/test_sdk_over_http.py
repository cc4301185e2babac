"""The SDK and the command line through a gateway, without access to Redis: gateways that die, keys, aliases, bad addresses."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from gateways import another_gateway, ask
from headrace_api.auth import EVERY_JOB, SCOPES, Gate
from stack import Stack, until

from headrace import AsyncHeadrace, Headrace
from headrace.errors import Closed, InputError, ModelNotFound, SettingsError, Unknown, Unreachable
from headrace.ledger.keys import Keys
from headrace.local.ports import free_port
from headrace.settings import Settings

MODEL = "rehearsal/small"
WORDS = "[[rehearsal tps=25]] Say all of this, word by word: " + " ".join(f"w{n}" for n in range(60))


class Review(msgspec.Struct):
    summary: str
    stars: int


def through(api: str, **more: Any) -> Headrace:
    return Headrace(api=api, settings=Settings(), **more)


@contextlib.contextmanager
def replaced_when_killed(stack: Stack, name: str) -> Iterator[tuple[str, Any]]:
    """The address of a gateway, and what kills it and has another one take its place there."""
    port = str(free_port())
    with contextlib.ExitStack() as gateways:
        base, first = gateways.enter_context(another_gateway(stack, f"{name}-1", "--port", port))

        def replace() -> None:
            os.kill(first.pid, signal.SIGKILL)
            first.wait(10)
            gateways.enter_context(another_gateway(stack, f"{name}-2", "--port", port))

        yield base, replace


def test_a_stream_goes_on_at_the_next_gateway(stack: Stack) -> None:
    with replaced_when_killed(stack, "stream") as (base, replace), through(base) as client:
        job = client.submit(MODEL, WORDS, stream=True)
        pieces, killer = [], threading.Thread(target=replace)
        for piece in job.stream().text_deltas():
            pieces.append(piece)
            if len(pieces) == 5:
                killer.start()
        killer.join()
        assert "".join(pieces) == job.result(30)


def test_rows_go_on_at_the_next_gateway(stack: Stack) -> None:
    with replaced_when_killed(stack, "rows") as (base, replace), through(base) as client:
        prompts = [f"[[rehearsal latency={40 * (n % 50)}]] Rate {n}." for n in range(400)]
        batch = client.extract(prompts, model=MODEL, schema=Review)
        rows, killer = [], threading.Thread(target=replace)
        for row in batch.results():
            rows.append(row)
            if len(rows) == 30:
                killer.start()
        killer.join()
        assert [row.custom_id for row in rows] == [f"line-{n + 1}" for n in range(400)]
        assert all(isinstance(row.value, Review) for row in rows)
        assert batch.wait(30).succeeded == 400


def test_what_is_submitted_while_the_gateway_is_away_is_submitted_once(stack: Stack) -> None:
    before = len(stack.calls())
    with replaced_when_killed(stack, "away") as (base, replace), through(base) as client:
        client.submit(MODEL, "Before.").result(30)
        replacing = threading.Thread(target=replace)
        replacing.start()
        jobs = [client.submit(MODEL, f"While it is away {n}.") for n in range(10)]
        replacing.join()
        assert all(job.result(30) for job in jobs)
    assert len({job.id for job in jobs}) == 10
    assert len(stack.calls()) - before == 11


async def test_the_log_of_what_has_ended_is_at_its_end(stack: Stack, base: str) -> None:
    async with AsyncHeadrace(api=base, settings=Settings()) as client:
        batch = await client.extract(["a"], model=MODEL)
        await batch.wait(30)
        job = await client.submit(MODEL, "b")
        await job.result(30)
        for log in (await client.backend.batch_log(batch.id, "now"), await client.backend.job_log(job.id, "now")):
            assert log.ended
            with pytest.raises(StopAsyncIteration):
                await log.next()


def test_a_batch_is_resumed_and_cancelled_as_with_redis(stack: Stack, base: str) -> None:
    with through(base) as client:
        batch = client.extract(["[[rehearsal latency=20000]] a"], model=MODEL)
        until(lambda: batch.progress().state == "in_progress", what="it runs")
        assert batch.resume() == "in_progress"
        assert batch.cancel() in ("cancelling", "cancelled")
        until(lambda: batch.progress().ended, what="it has ended")
        with pytest.raises(Closed):
            batch.resume()


def test_the_files_of_a_batch_that_has_ended_are_nobodys_to_replace(stack: Stack, base: str) -> None:
    """Also when the ledger has forgotten it."""
    with through(base) as client:
        batch = client.extract(["a", "b"], model=MODEL)
        batch.wait(30)
    keys = Keys(stack.ready["namespace"])
    stack.client.delete(keys.batch(batch.id))
    head = msgspec.json.encode({"template": {"model": MODEL}})
    lines = head + b"\n" + b'{"custom_id": "x", "fields": {"text": "x"}}\n'
    answer = ask(f"{base}/v1/native/batches", "POST", lines, x_headrace_batch=batch.id)
    assert answer.status == 409
    assert list((Path(stack.ready["files"]) / batch.id).glob("output.*"))


def test_lines_that_are_not_there_cannot_be_refused(base: str) -> None:
    with through(base) as client:
        batch = client.extract(["a", "b"], model=MODEL)
        batch.wait(30)
    path = f"{base}/v1/native/batches/{batch.id}/refusals"
    wrong = ask(path, "POST", {"rows": [[1, "no"], [2, "no"]]})
    assert (wrong.status, wrong.json["error"]["param"]) == (400, "rows[1][0]")
    assert ask(path, "POST", {"rows": [[1, "no"]]}).status == 200


def test_a_key_opens_a_gateway_that_is_not_open(stack: Stack) -> None:
    secret = "a secret of sixteen"
    key = Gate(secret.encode(), is_open=False).sign(EVERY_JOB, SCOPES, sub="producer")
    with another_gateway(stack, "closed", HEADRACE_STREAM_SECRET=secret, HEADRACE_GATEWAY_OPEN="0") as (base, _):
        with through(base, key=key) as client:
            assert client.submit(MODEL, "Open?").result(30)
            assert client.jobs(limit=1)
        with through(base) as client, pytest.raises(SettingsError, match="HEADRACE_API_KEY"):
            client.submit(MODEL, "Open?")


def test_names_are_those_of_the_gateway(stack: Stack) -> None:
    with (
        another_gateway(stack, "aliases", HEADRACE_MODELS='{"fast": "rehearsal/small"}') as (base, _),
        through(base) as client,
    ):
        assert client.submit("fast", "Who is fast?").result(30)
        assert client.extract(["a", "b"], model="fast").wait(30).succeeded == 2
        with pytest.raises(ModelNotFound, match="slow"):
            client.submit("slow", "Who is slow?")


def test_what_is_wrong_is_told_as_it_is_with_redis(stack: Stack, base: str) -> None:
    with through(base) as client:
        with pytest.raises(Unknown):
            client.job("job_" + "a" * 26).status()
        with pytest.raises(Unknown):
            client.batch("batch_" + "a" * 26).progress()
        with pytest.raises(InputError, match="temperature"):
            client.submit(MODEL, "x", temperature=9)
    with pytest.raises(Unreachable, match="HEADRACE_API"):
        through(f"http://127.0.0.1:{free_port()}").__enter__()
    for wrong in ("llm.example.org", "ftp://x", "http://user:pw@host"):
        with pytest.raises(InputError, match="address"):
            through(wrong).__enter__()


def command(base: str, *arguments: str, folder: Path, at: str = "option") -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
    option = ["--api", base] if at == "option" else []
    if at == "variable":
        environ["HEADRACE_API"] = base
    return subprocess.run(
        [sys.executable, "-m", "headrace", *arguments, *option],
        env=environ,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_commands_go_through_it(stack: Stack, base: str, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text("".join(json.dumps({"text": f"Review {n}"}) + "\n" for n in range(20)))
    schema = {"type": "object", "properties": {"stars": {"type": "integer"}}, "required": ["stars"]}
    (tmp_path / "schema.json").write_text(json.dumps(schema))
    done = command(
        base,
        *("extract", "in.jsonl", "--schema", "schema.json", "--model", MODEL, "--out", "rows.jsonl"),
        folder=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert len((tmp_path / "rows.jsonl").read_text().splitlines()) == 20
    said = command(base, "run", "Why?", "--model", MODEL, "--stream", folder=tmp_path, at="variable")
    assert said.returncode == 0, said.stderr
    assert said.stdout.strip()
    for words, end in ((["jobs", "list"], "/"), (["batches", "list"], "/v1"), (["models"], "/v1/")):
        listed = command(base + end, *words, folder=tmp_path, at="variable")
        assert listed.returncode == 0, listed.stderr
    refused = command(base, "files", "list", folder=tmp_path)
    assert refused.returncode == 2
    assert "gateway" in refused.stderr


def test_ctrl_c_cancels_the_job_of_a_prompt(stack: Stack, base: str, tmp_path: Path) -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
    before = len(stack.calls())
    words = ["run", "[[rehearsal latency=30000]] Wait.", "--model", MODEL, "--api", base]
    asking = subprocess.Popen([sys.executable, "-m", "headrace", *words], env=environ, cwd=tmp_path)
    try:
        until(lambda: len(stack.calls()) > before, what="the provider was called")
        asking.send_signal(signal.SIGINT)
        assert asking.wait(10) == 130
    finally:
        asking.kill()
    with through(base) as client:
        until(lambda: client.jobs(limit=1)[0].state == "cancelled", what="it is cancelled")
