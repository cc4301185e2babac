"""No prompt, answer, schema or key in any Celery message, Flower page, `inspect` answer, event or log line.

Canary strings go through the whole stack, succeeding and failing; every command that reaches the broker's keys is watched.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery
from hooked import hooked
from stack import Stack, started, until

from headrace.broker.hints import configure
from headrace.local.ports import free_port

PROMPT, SYSTEM, FIELD, KEY = "canaryprompt7", "canarysystem7", "canaryfield7", "sk-canarykey7canarykey7"
CANARIES = (PROMPT, SYSTEM, FIELD, KEY, "canary")
TEXTS = (
    f"The {PROMPT} is blue.",
    f"[[rehearsal fault=500 times=1]] The {PROMPT} is red.",
    f"[[rehearsal fault=400]] The {PROMPT} is green.",
    f"[[rehearsal fault=miss]] The {PROMPT} is grey.",
    f"[[rehearsal fault=cut]] The {PROMPT} is black.",
    f"[[rehearsal latency=4000]] The {PROMPT} is slow.",
)
PAGES = ("/", "/workers", "/tasks", "/broker", "/api/workers?refresh=1", "/api/tasks", "/api/queues/length", "/metrics")


class BrokerTap(threading.Thread):
    """Everything that is said to the broker's keys and channels, while it runs."""

    def __init__(self, url: str):
        super().__init__(daemon=True)
        self.heard: list[str] = []
        self._url = url
        self._client = redis.Redis.from_url(url)
        self._over = threading.Event()

    def run(self) -> None:
        with self._client.monitor() as monitor:
            for command in monitor.listen():
                if "celery" in command["command"]:
                    self.heard.append(command["command"])
                if self._over.is_set():
                    return

    def stop(self) -> str:
        self._over.set()
        with redis.Redis.from_url(self._url) as other:
            other.ping()  # one more command, so that the tap looks up
        self.join(10)
        self._client.close()
        return "\n".join(self.heard)


def flower_page(stack: Stack, path: str) -> str:
    token = base64.b64encode(f"headrace:{stack.ready['flower_password']}".encode()).decode()
    request = urllib.request.Request(stack.ready["flower"] + path, headers={"Authorization": f"Basic {token}"})
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return response.read().decode()
    except urllib.error.HTTPError as error:
        return error.read().decode()


def test_nothing_of_a_job_is_seen_outside_the_ledger(tmp_path: Path, each_transport: None) -> None:
    port = free_port(row=3)
    environment = {
        "OPENAI_BASE_URL": f"http://127.0.0.1:{port + 2}/v1",
        "OPENAI_API_KEY": KEY,
        "HEADRACE_LOG_LEVEL": "debug",
    }
    schema = tmp_path / "schema.json"
    schema.write_text(
        json.dumps(
            {
                "type": "object",
                "properties": {FIELD: {"type": "string"}},
                "required": [FIELD],
                "additionalProperties": False,
            }
        )
    )
    with started(tmp_path, "--port", str(port), environment=environment) as stack:
        seen: dict[str, str] = {}
        tap = BrokerTap(stack.ready["redis"])
        tap.start()
        until(lambda: "monitor" in str(stack.client.client_list()), what="the tap listens")
        batch_id = extract(stack, schema)
        jobs = [run(stack, text) for text in TEXTS[:3]]
        until(lambda: len(stack.calls()) >= len(TEXTS) + len(jobs), what="the calls are made")
        app = Celery("tap", fixups=[])
        app.conf.update(configure(stack.ready["redis"], "hr"))
        inspect = app.control.inspect(timeout=3)
        seen["inspect"] = json.dumps([inspect.active(), inspect.reserved(), inspect.stats()], default=str)
        assert f"{batch_id}.s" in seen["inspect"]
        app.close()
        seen |= {path: flower_page(stack, path) for path in PAGES}
        tasks = json.loads(seen["/api/tasks"]) if seen["/api/tasks"].startswith("{") else {}
        seen |= {f"/task/{uuid}": flower_page(stack, f"/task/{uuid}") for uuid in tasks}
        until(lambda: stack.batch(batch_id)["state"] == "completed", what="the batch ends")
        for job in jobs:
            until(lambda job=job: job.poll() is not None, what="the job ends")
        seen["broker"] = tap.stop()
        assert batch_id in seen["broker"], "the tap has heard nothing: the test would prove nothing"
        # The answers themselves did carry the canary, where they belong.
        assert PROMPT in json.dumps(stack.lines(batch_id, "output"))
        assert {line["error"]["code"] for line in stack.lines(batch_id, "errors")} >= {
            "invalid_request",
            "invalid_output",
        }
    seen |= {path.name: path.read_text() for path in (tmp_path / ".headrace" / "logs").glob("*.log")}
    seen["up.log"] = (tmp_path / "up.log").read_text()
    for where, text in seen.items():
        for canary in CANARIES:
            assert canary not in text, (
                f"{canary!r} stands in {where}: …{text[max(text.index(canary) - 200, 0) :][:400]}…"
            )


UNSEEN, MARK, DEADLY = "unseen7", "fault-please", "death-please"
"""The text of each fault of `unforeseen.py`, and what a prompt says to meet one, and to meet it in the quarantine."""


def test_the_text_of_a_fault_that_nobody_foresaw_is_written_nowhere(tmp_path: Path) -> None:
    logs = tmp_path / ".headrace" / "logs"
    environment = {**hooked("unforeseen"), "HEADRACE_LOG_LEVEL": "debug"}
    seen: dict[str, str] = {}
    with started(tmp_path, environment=environment) as stack:
        tap = BrokerTap(stack.ready["redis"])
        tap.start()
        until(lambda: "monitor" in str(stack.client.client_list()), what="the tap listens")
        stack.extract([{"id": "a", "text": f"A {MARK}."}])
        job = run(stack, f"A {MARK}.", "rehearsal/small")
        for path in ("/fault/route", "/fault/app"):
            with pytest.raises(urllib.error.HTTPError) as answered:
                urllib.request.urlopen(stack.ready["gateway"] + path, timeout=20)
            assert answered.value.code == 500
            seen[path] = answered.value.read().decode()
        seen["/workers"] = flower_page(stack, "/workers")
        shown = stack.run("version")
        assert shown.returncode == 1
        seen["version"] = shown.stdout + shown.stderr
        assert "Unforeseen" in seen["version"]
        for role in ("interactive", "bulk"):
            until(lambda role=role: "fail_or_ask" in (logs / f"{role}.log").read_text(), what=f"a task of {role} fails")
        ill = run(stack, f"A {DEADLY}.", "rehearsal/small")
        until(lambda: "fail_or_ask" in (logs / "quarantine.log").read_text(), what="a child of the quarantine fails")
        for name in ("interactive", "bulk", "quarantine", "gateway", "flower"):
            written = logs / f"{name}.log"
            # Beside the request or the start: in a thread, in a callback, in a task that is forgotten.
            for place in ("fail < threading.py", "Unforeseen", "fail_later"):
                until(lambda written=written, place=place: place in written.read_text(), what=f"{place} in {name}")
        until(lambda: "where='unforeseen.py" in (logs / "gateway.log").read_text(), what="the gateway tells where")
        tasks = flower_page(stack, "/api/tasks")
        seen |= {"/api/tasks": tasks, "/tasks": flower_page(stack, "/tasks")}
        seen |= {f"/task/{uuid}": flower_page(stack, f"/task/{uuid}") for uuid in json.loads(tasks)}
        seen["broker"] = tap.stop()
        for command in (job, ill):
            command.kill()
            command.wait()
    seen |= {path.name: path.read_text() for path in logs.glob("*.log")}
    seen["up.log"] = (tmp_path / "up.log").read_text()
    for where, text in seen.items():
        assert UNSEEN not in text, f"it stands in {where}: …{text[max(text.index(UNSEEN) - 300, 0) :][:600]}…"


def extract(stack: Stack, schema: Path) -> str:
    lines: list[dict[str, Any]] = [{"id": str(n), "text": text} for n, text in enumerate(TEXTS)]
    source = stack.folder / "input.jsonl"
    source.write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = stack.run(
        *("extract", str(source), "--model", "openai/gpt-tap", "--detach"),
        *("--schema", str(schema), "--system", SYSTEM),
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def run(stack: Stack, text: str, model: str = "openai/gpt-tap") -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "headrace", "run", text, "--model", model, "--system", SYSTEM],
        env=stack.client_environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
