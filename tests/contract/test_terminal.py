"""What models, providers, files and names say on a real terminal and in a real pipe."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from typing import Any

import pytest
from fake_transport import answer
from stack import Stack, started
from stub_provider import StubProvider, stub_provider
from terminals import on_terminal

MODEL = "openai/m"
EVIL = "a\x1b[2J\x1b]0;owned\x07b\x1b]52;c;cm0=\x1b\\c\x9b2Jd\x9d0;t\x9ce\rf\bg\u202eh\u2066i\tj\nk"
SHOWN = r"a\x1b[2J\x1b]0;owned\x07b\x1b]52;c;cm0=\x1b\c\u009b2Jd\u009d0;t\u009ce\rf\bg\u202eh\u2066i" + "\tj\nk"
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
CALL = {
    "id": "c1",
    "type": "function",
    "function": {"name": "look", "arguments": json.dumps({"a": EVIL}, ensure_ascii=False)},
}
OURS = re.compile(rb"\x1b\[[0-9;?]*[a-zA-Z]|\r\n|\r(?=\x1b\[|$)")
"""What this program sends a terminal itself: styles, the movements of the progress bar, line ends of the terminal's driver."""


@pytest.fixture(scope="module")
def provider() -> Iterator[StubProvider]:
    answers: dict[str, dict[str, Any]] = {
        "evil": answer(EVIL),
        "thinks": answer("So.", reasoning_content=EVIL),
        "calls": answer(None, finish="tool_calls", tool_calls=[CALL]),
        "value": answer(json.dumps({"a": EVIL}, ensure_ascii=False)),
        "fails": {"error": {"message": EVIL, "code": 400, "type": "invalid_request_error"}},
    }
    with stub_provider(answers) as provider:
        yield provider


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, provider: StubProvider) -> Iterator[Stack]:
    environment = {"OPENAI_BASE_URL": provider.url, "OPENAI_API_KEY": "none-such-key"}
    with started(tmp_path_factory.mktemp("terminal"), "--no-flower", environment=environment) as stack:
        (stack.folder / "schema.json").write_text(
            json.dumps({"type": "object", "properties": {"a": {"type": "string"}}})
        )
        (stack.folder / "tools.json").write_text(json.dumps([TOOL]))
        (stack.folder / "in.jsonl").write_text(json.dumps({"id": EVIL, "text": "<evil>"}) + "\n")
        (stack.folder / "bad.jsonl").write_text(json.dumps({"id": EVIL, "text": "<fails>"}) + "\n")
        yield stack


def shown(stack: Stack, *arguments: str) -> str:
    """What a terminal is sent, without what is ours; fails when anything else in it is a control."""
    environment = stack.client_environment | {"TERM": "xterm", "COLUMNS": "1000", "LANG": "C", "MODEL": MODEL}
    _, raw = on_terminal(*arguments, env=environment, cwd=stack.folder)
    text = OURS.sub(lambda match: b"\n" if b"\n" in match[0] else b"", raw).decode()
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text), text
    assert b"\x1b]" not in raw
    assert b"\x1b[2J\x1b]" not in raw
    return text


def piped(stack: Stack, *arguments: str, **environment: str) -> bytes:
    done = stack.run(*arguments, "--model", MODEL)
    return done.stdout.encode()


@pytest.mark.parametrize("flags", [[], ["--stream"], ["--json"], ["--stream", "--json"]], ids=" ".join)
def test_an_answer(stack: Stack, flags: list[str]) -> None:
    text = shown(stack, "run", "<evil>", *flags)
    if "--json" not in flags:
        assert text.endswith(SHOWN + "\n")
    job = stack.run("run", "<evil>", "--model", MODEL, "--detach").stdout.strip()
    for command in (["watch", job], ["jobs", "result", job], ["jobs", "show", job]):
        seen = shown(stack, *command)
        assert command[-2] == "show" or seen.endswith(SHOWN + "\n")


@pytest.mark.parametrize("key", ["thinks", "calls"])
def test_reasoning_and_tool_calls(stack: Stack, key: str) -> None:
    more = ["--tools", "tools.json"] if key == "calls" else []
    for flags in ([], ["--stream"]):
        shown(stack, "run", f"<{key}>", *more, *flags)


def test_values_and_rows(stack: Stack) -> None:
    assert r"\u009b2J" in shown(stack, "run", "<value>", "--schema", "schema.json")
    assert r"\u009b2J" in shown(stack, "extract", "in.jsonl")


@pytest.mark.parametrize("flags", [[], ["--stream"]], ids=" ".join)
def test_in_a_pipe_the_bytes_are_the_models(stack: Stack, flags: list[str]) -> None:
    for locale in ("C", "C.UTF-8"):
        environment = stack.client_environment | {"LC_ALL": locale, "PYTHONIOENCODING": "ascii"}
        options = {"env": environment, "cwd": stack.folder}
        with open(stack.folder / "exact.txt", "wb") as file:
            import subprocess
            import sys

            command = [sys.executable, "-m", "headrace", "run", "<evil>", "--model", MODEL, *flags]
            subprocess.run(command, stdout=file, check=True, timeout=60, **options)
        assert (stack.folder / "exact.txt").read_bytes() == EVIL.encode() + b"\n"


def test_failures_and_what_is_quoted(stack: Stack) -> None:
    assert r"a\x1b[2J" in shown(stack, "run", "<fails>")
    shown(stack, "extract", "bad.jsonl")
    name = EVIL.replace("\n", "")
    for arguments in (
        ["extract", f"{name}.jsonl"],
        ["extract", "in.jsonl", "--out", f"{name}.xlsx"],
        ["run", "x", "--schema", name],
        ["run", "x", "-o", name],
        ["run", "x", "--model", name],
        ["run", "x", f"--{name}"],
        ["jobs", "show", name],
        ["batches", "show", name],
        ["files", "show", name],
        ["files", "list", name],
        ["worker", name],
        [name],
    ):
        assert shown(stack, *arguments).strip(), arguments


def test_lists(stack: Stack) -> None:
    import contextlib

    with contextlib.closing(stack.client) as client:
        now_ms = int(client.time()[0]) * 1000
        batch = stack.run("extract", "in.jsonl", "--model", MODEL, "--detach").stdout.strip()
        client.hset(f"{{hr}}:batch:{batch}", mapping={"model": f"[red]x[/red]{EVIL}", "reason": EVIL})
        client.zadd("{hr}:batches:default", {f"batch_{EVIL}": now_ms + 5})
        client.zadd("{hr}:jobs:default", {"job_\x1b[2J": now_ms + 5})
        text = shown(stack, "batches", "list")
        assert "[red]x[/red]" in text
        assert r"\u009b2J" in text
        shown(stack, "batches", "show", batch)
        shown(stack, "jobs", "list")
        client.zrem("{hr}:batches:default", f"batch_{EVIL}")


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs pseudo-terminals")
def test_a_long_word_is_cut(stack: Stack) -> None:
    word = "x" * 5000
    for arguments in (
        ["run", "x", "--reasks", word],
        ["run", "x", f"--mode={word}"],
        ["run", "x", f"--{word}"],
        ["run", "x", "--model", word],
        ["run", "x", "-o", word],
        ["run", "x", "-o", f"{word}=1"],
        ["run", "x", "-o", f"temperature={word}"],
        ["run", "x", "--schema", word],
        ["run", "x", "--tools", word],
        ["run", "x", "--key", word],
        ["run", "x", "--timeout", word],
        ["extract", word],
        ["extract", "in.jsonl", "--prompt", f"@{word}"],
        ["extract", "in.jsonl", "--encoding", word],
        ["extract", "in.jsonl", "--out", f"{word}.jsonl"],
        ["extract", "in.jsonl", "--out", f"a.{word}"],
        ["extract", "in.jsonl", "--on-empty", word],
        ["extract", "in.jsonl", "--prompt", f"{{{word}}}"],
        ["jobs", "show", word],
        ["jobs", "show", f"job_{word}"],
        ["jobs", "result", word],
        ["jobs", "cancel", f"job_{word}"],
        ["jobs", "retry", word],
        ["jobs", "list", "--state", word],
        ["batches", "show", word],
        ["batches", "show", f"batch_{word}"],
        ["batches", "cancel", f"batch_{word}"],
        ["batches", "resume", word],
        ["batches", "retry", word],
        ["batches", "retry", "batch_x", "--code", word],
        ["batches", "check", word, "--schema", "json:JSONDecoder"],
        ["batches", "check", "batch_x", "--schema", f"{word}:Type"],
        ["watch", word],
        ["watch", f"job_{word}"],
        ["files", "list", word],
        ["files", "show", word],
        ["files", "delete", word],
        ["schema", "check", word],
        ["schema", "check", "schema.json", "--target", word],
        ["schema", "validate", "schema.json", word],
        ["worker", word],
        ["worker", "bulk", "--check", "--ready-file", word],
        ["gateway", "--port", word],
        ["completion", word],
        [word],
    ):
        done = stack.run(
            *arguments,
            *(["--model", MODEL] if arguments[0] in ("run", "extract") and "--model" not in arguments else []),
        )
        assert done.returncode in (1, 2), (arguments, done.stderr[:400])
        assert "Traceback" not in done.stderr, (arguments[:3], done.stderr[-600:])
        assert done.stderr.count("x") < 500, (arguments[0], [a[:20] for a in arguments], len(done.stderr))
