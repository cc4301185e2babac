"""Answers made to stop whoever reads them, beside ordinary ones: each is paid once, and nobody's lease runs out."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from fleet import client_of, states_of
from stack import started, until

SLOW_S = 12
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}
LONG = 1 << 20
ANSWERS = {
    "brackets and prose": "{{{{{{ and so on, " * 3_400,
    "brackets": "{" * LONG,
    "fences": "```json\n" * (LONG // 8),
    "declarations": "<?xml" * (LONG // 5),
    "cut off": '{"a": "' + "x" * LONG,
    "cut off between items": '{"a": [' + '{"b": 1}, ' * (LONG // 10),
    "quotes": "{" + '"' * LONG,
    "backslashes": '{"a": "' + "\\" * LONG,
    "names": '{"a":' * (LONG // 5),
    "words between": "[a] {b} " * (LONG // 8),
    "half of a surrogate pair": '{"a": "\\ud800"}',
}


class Provider(BaseHTTPRequestHandler):
    """Answers `poison N` with the N-th of these, and whoever else after `SLOW_S` with `{"a": "b"}`."""

    calls: Counter[str]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prompt = body["messages"][-1]["content"]
        self.calls[prompt] += 1
        text = '{"a": "b"}'
        if prompt.startswith("poison"):
            text = [*ANSWERS.values()][int(prompt.split()[1]) % len(ANSWERS)]
        else:
            time.sleep(SLOW_S)
        message = {"role": "assistant", "content": text}
        answer = {"id": "a", "object": "chat.completion", "created": 1, "model": "m", "choices": [
            {"index": 0, "message": message, "finish_reason": "stop"}
        ]}  # fmt: skip
        data = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(data)

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def provider() -> Iterator[tuple[str, Counter[str]]]:
    calls: Counter[str] = Counter()
    handler = type("Counted", (Provider,), {"calls": calls})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/v1", calls
    server.shutdown()
    server.server_close()


def test_poisonous_answers_cost_nobody_else_anything(tmp_path: Path, provider: tuple[str, Counter[str]]) -> None:
    url, calls = provider
    environment = {"OPENAI_BASE_URL": url, "OPENAI_API_KEY": "key-of-a-test", "HEADRACE_DRAIN_S": "2"}
    prompts = [f"{kind} {n}" for n in range(20) for kind in ("innocent", "poison")]
    with started(tmp_path, "--no-flower", environment=environment) as stack:

        async def submit() -> list[str]:
            async with client_of(stack) as client:
                return [job.id for job in await client.submit_many("openai/m", prompts, schema=SCHEMA)]

        jobs = asyncio.run(submit())
        ended = {b"succeeded", b"failed", b"dead"}
        until(lambda: set(states_of(stack, jobs)) <= ended, what="all end", seconds=60)
        states = dict(zip(prompts, states_of(stack, jobs), strict=True))
        assert {state for prompt, state in states.items() if prompt.startswith("innocent")} == {b"succeeded"}
        assert b"dead" not in states.values()
        assert calls == dict.fromkeys(prompts, 1)
        logs = b"".join(path.read_bytes() for path in (stack.folder / ".headrace" / "logs").glob("*.log"))
        assert b"its worker was lost" not in logs
