"""Every command with odd arguments, odd input, odd files and an odd environment: no traceback, no exit code of another table, no
growth. Seeded; `--soak-minutes` says for how long (a quarter of a minute by default)."""

from __future__ import annotations

import gc
import os
import random
import resource
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from command_line import Ended, command

from headrace.cli.main import COMMANDS
from headrace.settings import Settings, variable

CODES = {0, 1, 2, 3, 130}
ODD_FILES: dict[str, bytes] = {
    "good.jsonl": b'{"id": "1", "text": "a"}\n{"id": "2", "text": "b"}\n',
    "good.csv": b"id,text\n1,a\n2,b\n",
    "good.json": b'{"type": "object", "properties": {"a": {"type": "string"}}}',
    "tools.json": b'[{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]',
    "empty.jsonl": b"",
    "nul.jsonl": b"\x00" * 100,
    "latin.csv": b"id,text\n1,caf\xe9\n",
    "escape.jsonl": b'{"id": "\\u001b[2J", "text": "x"}\n',
    "deep.json": b"[" * 100_000,
    "half.jsonl": b'{"id": "\\ud83d", "text": "\\ud83d"}\n',
    "list.json": b"[1, 2]",
    "number.json": b"1e999",
    "text.md": b"# words",
    "data.parquet": b"PAR1....PAR1",
    "data.gz": b"\x1f\x8b\x08\x00",
    "\x1b[2J.jsonl": b'{"text": "x"}\n',
    "name with spaces.jsonl": b'{"text": "x"}\n',
    "sep.csv": b"sep=;\nid;text\n1;a\n",
    "quote.csv": b'id,text\n1,"never closed\n',
    "batch.jsonl": (
        b'{"custom_id":"a","method":"POST","url":"/v1/chat/completions",'
        b'"body":{"model":"m","messages":[{"role":"user","content":"x"}]}}\n'
    ),
    "badbatch.jsonl": b'{"custom_id":"a","body":{"messages":5,"stream":true,"api_key":"x"}}\n',
    "utf16.jsonl": '{"text": "x"}\n'.encode("utf-16"),
    "bom.jsonl": b'\xef\xbb\xbf{"text": "x"}\n',
    "wide.csv": b",".join(b"c%d" % n for n in range(3000)) + b"\n",
    "evil.py": b"raise SystemExit(7)\n",
    "type.py": b"import dataclasses\n@dataclasses.dataclass\nclass T:\n    a: str\nX = 5\n",
}
WORDS = [
    *(
        "",
        "-",
        "--",
        "---",
        "-x",
        "--json",
        "-o",
        "x",
        "0",
        "-1",
        "1",
        "1e999",
        "NaN",
        "9" * 400,
        "null",
        "[]",
        "{",
        "{}",
        "{text}",
        "{a.b}",
    ),
    *(
        "@",
        "@@",
        "@good.json",
        "@nowhere",
        "@.",
        ".",
        "..",
        "../..",
        "/",
        "/dev/null",
        "/dev/zero",
        "/nowhere/x",
        "a\nb",
        "\x1b[2J",
        "\u202e",
    ),
    *(
        "caf\udce9",
        "\U0001f600",
        "x" * 300,
        "x" * 5000,
        "rehearsal/small",
        "openai/",
        "/m",
        "nobody/m",
        "job_",
        "job_x",
        "batch_",
        "batch_x",
    ),
    *(
        "job_\x1b[2J",
        "batch_" + "a" * 3000,
        "json:JSONDecoder",
        "os:system",
        "os:",
        ":x",
        "evil:x",
        "type:T",
        "type:X",
        "a.b:c",
        "strict",
        "auto",
    ),
    *(
        "temperature=0",
        "temperature=hot",
        "=",
        "=1",
        "stop=",
        'extra_headers={"Host":"x"}',
        "n=5",
        "out.jsonl",
        "out.csv",
        "out.xlsx",
        "s/out.jsonl",
    ),
    *(
        "utf-8",
        "klingon",
        "skip",
        "bulk",
        "bash",
        "redis://x",
        "127.0.0.1",
        "0.0.0.0",
        "99999",
        "running",
        "dead",
        "invalid_output",
    ),
    *ODD_FILES,
]
STDIN = [
    b"",
    b"x",
    b"\xff\xfe\x00",
    b'{"text": "x"}\n',
    b"[" * 100_000,
    b"\x00" * 1000,
    b"{}\n" * 1000,
    b"a" * 2_000_000,
    *ODD_FILES.values(),
]
ENVIRONMENT = {
    **{
        variable(name): [
            "",
            "x",
            "-1",
            "0",
            "1e999",
            "NaN",
            "\udcff",
            "x" * 5000,
            "/nowhere",
            "{}",
            "[",
            "\x1b[2J",
            "true",
            "redis://u:p@[",
        ]
        for name in Settings.__struct_fields__
    },
    "MODEL": ["", "x", "rehearsal/small", "\x1b[2J", "x" * 5000],
    "OPENAI_BASE_URL": ["", "x", "http://[", "ftp://h", "http://127.0.0.1:1/v1?key=s"],
    "COLUMNS": ["0", "-5", "x"],
    "NO_COLOR": ["1"],
    "TERM": ["dumb", ""],
}
OPTIONS = {
    "extract": [
        *(
            "--model",
            "--prompt",
            "--system",
            "--id",
            "--keep",
            "--on-bad-row",
            "--follow",
            "--excel",
            "--weight",
            "--schema",
            "--mode",
            "--reasks",
            "--lax",
            "--out",
            "--whole",
            "--force",
            "-o",
            "--limit",
        ),
        "--cache",
        "--no-cache",
        "--variant",
        "--new",
        "--sample",
        "--on-empty",
        "--encoding",
        "--dry-run",
    ],
    "run": [
        "--model",
        "--system",
        "--schema",
        "--mode",
        "--reasks",
        "--lax",
        "--tools",
        "--tool-choice",
        "-o",
        "--key",
        "--cache",
        "--variant",
        "--timeout",
        "--json",
        "--stream",
    ],
    "cache": ["--json"],
    "limits": ["--json"],
    "jobs": ["--limit", "--state", "--json", "--timeout"],
    "models": ["--json"],
    "batches": ["--limit", "--json", "--out", "--whole", "--force", "--code", "--schema"],
    "watch": ["--out", "--whole", "--force", "--json"],
    "files": ["--json"],
    "schema": ["--target", "--literal", "--json", "--out"],
    "up": ["--data", "--port", "--ready-file", "--rehearsal", "--rehearsal-flag", "--gateway", "--flower"],
    "gateway": ["--host", "--port", "--ready-file", "--token"],
    "worker": ["--ready-file", "--calls", "--check"],
    "doctor": ["--json"],
    "version": ["--json"],
    "completion": [],
}
FITTING = {
    "--out": ["rows.jsonl", "rows.csv", "good.jsonl", "good.csv", "rows.errors.jsonl", "s/rows.tsv"],
    "--schema": ["good.json", "deep.json", "list.json", "type:T", "type:X", "evil:T", "-"],
    "--prompt": ["{text}", "{id}: {text}", "@text.md", "{{", "words", "@data.gz"],
    "--system": ["words", "@text.md", ""],
    "--tools": ["tools.json", "good.json", "deep.json"],
    "--mode": ["strict", "prompt", "tool_call", "typed_xml"],
    "--limit": ["1", "2", "100000000000000000000"],
    "--sample": ["1", "5"],
    "--on-empty": ["skip", "send", "refuse"],
    "--encoding": ["latin-1", "utf-16", "idna", "rot13", "utf-8-sig"],
    "--target": ["openai", "vllm", "openrouter"],
    "-o": ["temperature=0", 'stop=["a"]', "n=2", 'extra_body={"a":1}', "seed=1e3"],
    "--timeout": ["0", "1", "nan", "inf", "-1"],
    "--variant": ["v", "", "\x1b", "x" * 300],
    "--key": ["k", "\x1b", "x" * 300],
}
FLAGS = {
    "--no-cache",
    "--new",
    "--lax",
    "--whole",
    "--force",
    "--dry-run",
    "--cache",
    "--json",
    "--stream",
    "--literal",
    "--rehearsal",
    "--check",
    "--token",
}
BENEATH = {
    "cache": ["info", "clear"],
    "jobs": ["list", "show", "result", "cancel", "retry"],
    "batches": ["list", "show", "cancel", "resume", "retry", "results", "check"],
    "files": ["list", "show", "delete"],
    "schema": ["check", "validate", "init"],
}


def test_every_command_is_among_them() -> None:
    assert set(OPTIONS) == set(COMMANDS)


def odd_command(chance: random.Random) -> list[str]:
    name = chance.choice([*OPTIONS, "extract", "run", "batches", "schema"])
    words = [name]
    if name in BENEATH and chance.random() < 0.95:
        words.append(chance.choice(BENEATH[name]))
    if name in ("extract", "schema") and chance.random() < 0.6:
        words += [chance.choice([*ODD_FILES]), *(["-"] if words[-1] == "validate" else [])]
    else:
        words += [chance.choice(WORDS) for _ in range(chance.choice([0, 1, 1, 1, 2, 3]))]
    if name in ("extract", "run"):
        words += ["--detach", *(["--model", "rehearsal/small"] if chance.random() < 0.8 else [])]
    likely = chance.choice([0.5, 1.0])  # that a value is one that may fit
    for _ in range(chance.choice([0, 0, 1, 1, 2, 3])):
        option = chance.choice(OPTIONS[name] or WORDS)
        if option in words and option != "-o":
            continue
        words.append(option)
        if option in FLAGS and chance.random() < likely:
            continue
        if option in FITTING and chance.random() < likely:
            words.append(chance.choice(FITTING[option]))
        elif chance.random() < 0.7:
            words.append(chance.choice(WORDS))
    return words


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """No process of another kind is begun: what was to begin it has been decided by then."""

    def execve(path: str, arguments: list[str], environment: dict[str, str]) -> None:
        raise SystemExit(0)

    monkeypatch.setattr(os, "execve", execve)
    monkeypatch.setattr("headrace.local.stack.Stack.run", lambda self: 0)


def changed(folder: Path) -> set[str]:
    """The odd files that are not what they were. An empty one may become a ready file: it is what `mktemp` makes."""
    there = {name for name in ODD_FILES if (folder / name).is_file()}
    return ODD_FILES.keys() - {name for name in there if (folder / name).read_bytes() == ODD_FILES[name]}


def seen_as(ended: Ended, words: list[str], environment: dict[str, str]) -> str:
    return f"{words} with {environment}: {ended.code}\n{ended.crash or ended.err.decode(errors='replace')[-1500:]}"


@pytest.mark.usefixtures("still")
def test_odd_commands(tmp_path: Path, valkey_url: str, namespace: str, request: pytest.FixtureRequest) -> None:
    seconds = 60 * request.config.getoption("--soak-minutes")
    seed = (
        int(os.environ.get("CLI_SEED", "1"))
        if "CLI_SEED" in os.environ or seconds < 60
        else random.SystemRandom().randrange(10**6)
    )
    chance, count, began = random.Random(seed), 0, time.monotonic()
    print(f"seed {seed}")
    codes: Counter[int] = Counter()
    levels: list[tuple[int, int, int]] = []
    while time.monotonic() - began < seconds:
        for name, data in ODD_FILES.items():
            (tmp_path / name).write_bytes(data)
        words = odd_command(chance)
        environment = {
            "HEADRACE_REDIS_URL": valkey_url,
            "HEADRACE_NAMESPACE": namespace,
            "HEADRACE_FILES": str(tmp_path / "s"),
        }
        for _ in range(chance.choice([0, 0, 0, 0, 0, 1, 2])):
            name = chance.choice([*ENVIRONMENT])
            environment[name] = chance.choice(ENVIRONMENT[name])
        if not environment["HEADRACE_REDIS_URL"]:  # it would start a service of its own
            environment["HEADRACE_REDIS_URL"] = "redis://127.0.0.1:1/0"
        ended = command(*words, folder=tmp_path, environment=environment, stdin=chance.choice(STDIN))
        assert not ended.crash, seen_as(ended, words, environment)
        assert ended.code in CODES, seen_as(ended, words, environment)
        assert b"Traceback" not in ended.err, seen_as(ended, words, environment)
        assert ended.code != 2 or ended.err or words[0] == "schema", seen_as(ended, words, environment)
        assert "--force" in words or not (changed(tmp_path) - {"empty.jsonl" if "--ready-file" in words else ""})
        count += 1
        codes[ended.code] += 1
        if count % 50 == 0:
            gc.collect()
            levels.append(
                (
                    len(os.listdir("/proc/self/fd")),
                    threading.active_count(),
                    resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
                )
            )
    print(dict(codes))
    assert count > seconds, "more than one a second"
    assert codes[0] > count // 50, "some of them are taken"
    if len(levels) > 4:
        files, threads, memory = (levels[-1][at] - levels[1][at] for at in range(3))
        assert files < 20, levels
        assert threads < 10, levels
        assert memory < 300_000, levels  # KiB
