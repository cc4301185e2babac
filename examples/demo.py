"""A real bulk extraction with a crash in the middle: `make demo`.

The long descriptions of the Python distributions installed here (text that nobody wrote for this) become typed records.
Half-way one worker is killed with SIGKILL, on purpose. At the end the provider's own account says what was paid.
With OPENAI_API_KEY and MODEL=openai/… the same command uses the real provider.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path

from headrace_rehearsal import account

from headrace.local.valkey import die_with_parent

STATE = Path(".headrace")
DEMO = STATE / "demo"
MODEL = os.environ.get("MODEL", "rehearsal/large")
REAL = not MODEL.startswith("rehearsal/")
LAST_MOMENT_S = 0.25
MIN_DOCUMENTS = 60
SYSTEM = "Describe the Python distribution in the user's message as a record."
SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["purpose", "audience", "licence", "python_versions", "links", "maturity"],
    "properties": {
        "purpose": {"type": "string", "description": "what it is for, in one sentence"},
        "audience": {"type": "string", "description": "who uses it"},
        "licence": {"type": ["string", "null"]},
        "python_versions": {"type": "array", "items": {"type": "string"}},
        "links": {
            "type": "array",
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["kind", "url"],
                "properties": {
                    "kind": {"enum": ["documentation", "source", "issues", "other"]},
                    "url": {"type": "string"},
                },
            },
        },
        "maturity": {"enum": ["planning", "alpha", "beta", "stable", "mature", "unknown"]},
    },
}


def main() -> int:
    began = time.monotonic()
    documents = list(read_documents())
    STATE.mkdir(mode=0o700, exist_ok=True)
    DEMO.mkdir(exist_ok=True)
    (DEMO / "documents.jsonl").write_text("".join(json.dumps(document) + "\n" for document in documents))
    (DEMO / "record.json").write_text(json.dumps(SCHEMA, indent=2))
    say(f"{len(documents)} descriptions of installed distributions -> {DEMO / 'documents.jsonl'}")
    with service() as ready:
        say(f"up: redis {ready['redis']}, flower {ready['flower']} (headrace / {ready['flower_password']})")
        judge = Path(str(ready["account"])) if ready.get("account") else None
        before = len(account.read(judge)) if judge and judge.exists() else 0
        kills: list[float] = []
        extraction = subprocess.Popen(
            [
                *(sys.executable, "-m", "headrace", "extract", str(DEMO / "documents.jsonl")),
                *("--system", SYSTEM, "--prompt", "{text}", "--schema", str(DEMO / "record.json")),
                *("--model", MODEL, "--out", str(DEMO / "records.jsonl"), "--force"),  # an earlier demo's
            ],
            env={**os.environ, "HEADRACE_REDIS_URL": str(ready["redis"]), "HEADRACE_FILES": str(ready["files"])},
            preexec_fn=die_with_parent,
        )
        killer = threading.Thread(target=kill_half_way, args=(ready, len(documents), judge, before, kills), daemon=True)
        killer.start()
        code = extraction.wait()
        if code not in {0, 1}:
            return code
        calls = account.read(judge)[before:] if judge else []
    return report(documents, calls, kills, time.monotonic() - began)


def read_documents() -> Iterator[dict[str, str]]:
    """What the distributions installed here say of themselves, each once, cut to what a prompt may cost."""
    seen = set()
    for distribution in sorted(distributions(), key=lambda each: each.name.lower()):
        metadata = distribution.metadata
        description = str(metadata.get_payload() or metadata.get("Description") or "")
        if distribution.name in seen or len(description) < 200:
            continue
        seen.add(distribution.name)
        classifiers = metadata.get_all("Classifier") or []
        head = [
            f"Name: {distribution.name}",
            f"Purpose: {metadata.get('Summary') or ''}",
            f"Licence: {metadata.get('License-Expression') or (metadata.get('License') or '').partition(chr(10))[0]}",
            *(
                f"Maturity: {each.rpartition(' - ')[2]}"
                for each in classifiers
                if each.startswith("Development Status")
            ),
            *(
                f"Audience: {each.rpartition(' :: ')[2]}"
                for each in classifiers
                if each.startswith("Intended Audience")
            ),
            "Python versions: "
            + ", ".join(each.rpartition(" :: ")[2] for each in classifiers if re.search(r"3\.\d+$", each)),
            *(f"Link: {link}" for link in metadata.get_all("Project-URL") or []),
        ]
        yield {"id": distribution.name, "text": "\n".join([*head, "", description[:5000]])}
    if len(seen) < MIN_DOCUMENTS:
        raise SystemExit(f"only {len(seen)} descriptions found; the demo wants {MIN_DOCUMENTS}: run it by `make demo`")


@contextlib.contextmanager
def service() -> Iterator[dict[str, object]]:
    """`headrace up` for the duration of the demo."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "ready.json"
        command = [
            sys.executable,
            "-m",
            "headrace",
            "up",
            "--port",
            "0",
            "--data",
            str(STATE),
            "--ready-file",
            str(file),
            "--until-stdin-ends",  # a demo that is killed leaves no service behind
        ]
        if not REAL:
            command += ["--rehearsal", "--rehearsal-flag=--latency=300", "--rehearsal-flag=--jitter=200"]
        # Few calls at a time, so that there is a half-way at which to kill.
        up = subprocess.Popen(
            command, stdin=subprocess.PIPE, start_new_session=True, env={"HEADRACE_CALLS": "8", **os.environ}
        )
        try:
            while not file.exists():
                if up.poll() is not None:
                    raise SystemExit(up.returncode)
                time.sleep(0.05)
            yield json.loads(file.read_text())
        finally:
            up.terminate()
            up.wait()


def kill_half_way(ready: dict[str, object], total: int, judge: Path | None, before: int, kills: list[float]) -> None:
    """SIGKILL the bulk worker once half of the answers are there."""
    if judge is None:
        time.sleep(5)
    else:
        while (
            not judge.exists() or sum(call.ended_at is not None for call in account.read(judge)[before:]) < total // 2
        ):
            time.sleep(0.05)
    workers = ready["workers"]
    assert isinstance(workers, dict)
    pid = workers["bulk"]
    kills.append(time.time())
    os.kill(pid, signal.SIGKILL)
    say(f"killed the bulk worker (pid {pid}) with SIGKILL. Its lease runs out in 16 s; `up` has begun another one")


def report(
    documents: list[dict[str, str]], calls: list[account.AccountedCall], kills: list[float], seconds: float
) -> int:
    """Print the records and the account's verdict; write it to `report.json`. 0 when every document was answered once."""
    rows = [json.loads(line) for line in (DEMO / "records.jsonl").read_text().splitlines()]
    errors = DEMO / "records.errors.jsonl"
    failed = [json.loads(line) for line in errors.read_text().splitlines()] if errors.exists() else []
    table(rows)
    answered = [row["custom_id"] for row in rows] + [row["custom_id"] for row in failed]
    paid_twice = account.paid_twice(calls)
    in_flight = sum(len(account.in_flight_at(calls, kill)) for kill in kills)
    # Answers on their way: the provider had sent them, the worker had not yet written them down.
    on_their_way = sum(
        bool(call.ended_at and 0 <= kill - call.ended_at <= LAST_MOMENT_S) for call in calls for kill in kills
    )
    verdict = {
        "items": len(documents),
        "answered": len(rows),
        "lost": len({document["id"] for document in documents} - set(answered)),
        "finished_twice": len(answered) - len(set(answered)),
        "paid_twice": paid_twice,
        "in_flight_at_kill": in_flight,
        "seconds": round(seconds, 1),
    }
    (DEMO / "report.json").write_text(json.dumps(verdict, indent=2) + "\n")
    say("the account's verdict: " + ", ".join(f"{name} {value}" for name, value in verdict.items()))
    if REAL:
        say("with a real provider there is no account: paid_twice and in_flight_at_kill are not known")
    elif paid_twice > in_flight:
        say(
            f"{paid_twice - in_flight} more than in flight: answers that the provider sent within the last {LAST_MOMENT_S:g} s "
            "before the kill, which the worker died too early to write down"
        )
    whole = verdict["lost"] == verdict["finished_twice"] == 0 and len(rows) == len(documents)
    return 0 if whole and paid_twice <= in_flight + on_their_way else 1


def table(rows: list[dict[str, object]]) -> None:
    from rich.console import Console
    from rich.table import Table

    shown = Table("distribution", "purpose", "licence", "maturity", "links", title=f"{len(rows)} records, the first 15")
    for row in rows[:15]:
        value = row["value"]
        assert isinstance(value, dict)
        purpose = re.sub(r"\s+", " ", value["purpose"])
        shown.add_row(
            str(row["custom_id"]), purpose[:60], str(value["licence"])[:20], value["maturity"], str(len(value["links"]))
        )
    Console(width=120).print(shown)


def say(text: str) -> None:
    print(f"demo: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
