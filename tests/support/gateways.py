"""A gateway under test: requests to it, its streams read line by line, and more gateways on the same service."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from stack import Stack, until
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from headrace.local.ports import free_port
from headrace.local.supervised_process import SupervisedProcess, ready_file_names

GATEWAY = ("-m", "headrace_api")
SLOW = "[[rehearsal tps=25]] Say all of this, word by word: " + " ".join(f"w{n}" for n in range(60))


class Answer:
    def __init__(self, status: int, headers: Any, body: bytes):
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def ask(url: str, method: str = "GET", body: Any = None, **headers: str) -> Answer:
    """One request; any status is an answer."""
    data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url, data, {"content-type": "application/json", **named}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return Answer(answer.status, answer.headers, answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, error.headers, error.read())


def submit(base: str, text: str = "Why?", **more: Any) -> str:
    """The id of a job that the gateway has accepted."""
    body = {"model": "rehearsal/small", "messages": [{"role": "user", "content": text}], **more}
    answer = ask(f"{base}/v1/jobs", "POST", body)
    assert answer.status == 202, answer.body
    return answer.json["id"]


def result(base: str, job: str) -> Any:
    def ended() -> Any:
        shown = ask(f"{base}/v1/jobs/{job}").json
        return shown if shown["status"] not in ("queued", "running", "parked") else None

    return until(ended, what="the job has ended")


def compacted_log(stack: Stack, base: str) -> str:
    """A job whose log begins with a snapshot of 8 MB."""
    job = submit(base)
    until(lambda: ask(f"{base}/v1/jobs/{job}").json["status"] == "succeeded", what="it is done")
    message = {"role": "assistant", "content": "x" * (8 << 20)}
    with stack.client as client:
        log = f"{{hr}}:job:{job}:log"
        last, end = client.xrange(log)[-1]  # type: ignore[index]
        epoch, _, seq = last.decode().partition("-")
        snapshot = json.dumps({"t": "snapshot", "upto": int(seq) - 2, "message": message}, separators=(",", ":"))
        client.delete(log)
        client.xadd(log, {"d": snapshot}, id=f"{epoch}-{int(seq) - 1}")
        client.xadd(log, end, id=last)
    return job


class Sse:
    """A stream that is read as it comes: `(id, data)` of its events."""

    def __init__(self, url: str, method: str = "GET", body: Any = None, **headers: str):
        parts = urlsplit(url)
        assert parts.hostname
        self.connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        data = json.dumps(body).encode() if body is not None else None
        self.connection.request(method, path, data, {name.replace("_", "-"): value for name, value in headers.items()})
        self.answer = self.connection.getresponse()
        self.status = self.answer.status
        self.headers = self.answer.headers
        self.comments = 0

    def __enter__(self) -> Sse:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.answer.close()
        self.connection.close()

    def events(self) -> Iterator[tuple[str | None, str]]:
        """Until the stream ends, or breaks off."""
        with contextlib.suppress(http.client.IncompleteRead, ConnectionError):
            yield from self._events()

    def _events(self) -> Iterator[tuple[str | None, str]]:
        id, data = None, None
        for raw in self.answer:
            line = raw.decode().rstrip("\n")
            if not line:
                if data is not None:
                    yield id, data
                id, data = None, None
            elif line.startswith(":"):
                self.comments += 1
            elif line.startswith("id: "):
                id = line[4:]
            elif line.startswith("data: "):
                assert data is None, "one line of data"
                data = line[6:]

    def all(self) -> list[tuple[str | None, str]]:
        """Every event, to the end of the stream."""
        with self:
            return list(self.events())


def text_of(events: list[tuple[str | None, str]]) -> str:
    """What a viewer of the native view shows in the end; each id in its place, checked (U1, U2, U4, U5)."""
    text, last, ended = "", (0, 0), False
    for id, data in events:
        if id is None:
            continue
        assert not ended, "nothing after the end"
        epoch, seq = map(int, id.split("-"))
        assert (epoch, seq) == (last[0], last[1] + 1) or (epoch > last[0] and seq == 1), (last, id)
        last = (epoch, seq)
        event = json.loads(data)
        if event["t"] == "attempt.start":
            text = ""
        elif event["t"] == "text.delta":
            text += event["d"]
        ended = event["t"] == "end"
    assert ended
    return text


def another_gateway(
    stack: Stack, name: str, *arguments: str, program: tuple[str, ...] = GATEWAY, **variables: str
) -> contextlib.AbstractContextManager[tuple[str, subprocess.Popen[bytes]]]:
    """A gateway of the test's own on the stack's ledger: its URL and its process."""
    return gateway_alone(stack.folder, name, {**stack.client_environment, **variables}, *arguments, program=program)


@contextlib.contextmanager
def gateway_alone(
    folder: Path, name: str, environment: dict[str, str], *arguments: str, program: tuple[str, ...] = GATEWAY
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A gateway on the ledger that `environment` names: its URL and its process."""
    file = folder / f"{name}.json"
    file.unlink(missing_ok=True)
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, *program, "--port", "0", *arguments, "--ready-file", str(file)],
            env=environment,
            stdout=log,
            stderr=log,
        )
    try:
        until(lambda: file.exists() or process.poll() is not None, what="the gateway listens")
        assert process.poll() is None, (folder / f"{name}.log").read_text()
        yield json.loads(file.read_text())["url"], process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def stream_url(base: str, query: str = "") -> str:
    """The URL of the WebSocket."""
    return f"ws{base.removeprefix('http')}/v1/stream{query}"


def text_of_frames(frames: list[dict[str, Any]], job: str) -> str:
    """What the frames of a WebSocket say of one job."""
    return text_of(
        [(frame.get("id"), json.dumps(frame)) for frame in frames if frame.get("job") == job and "id" in frame]
    )


async def code_of(base: str, query: str = "", *, frames: tuple[str, ...] = (), **options: Any) -> int:
    """The code that a WebSocket is closed with."""
    async with asyncio.timeout(30), connect(f"ws{base[4:]}/v1/stream{query}", **options) as connection:
        with contextlib.suppress(ConnectionClosed):
            for frame in frames:
                await connection.send(frame)
            while True:
                await connection.recv()
    assert connection.close_code is not None
    return connection.close_code


class TwoGateways:
    """The gateway that `headrace up` keeps running, and a second one, kept running by whoever calls `tick`."""

    def __init__(self, stack: Stack):
        self._stack = stack
        port, ready = free_port(), stack.folder / "second.ready"
        command = [sys.executable, *GATEWAY, "--port", str(port), "--ready-file", str(ready)]
        log = stack.folder / "second.log"
        self._second = SupervisedProcess(
            "second gateway", command, stack.client_environment, log, ready_file_names(ready)
        )
        self.bases = [stack.ready["gateway"], f"http://127.0.0.1:{port}"]

    def __enter__(self) -> TwoGateways:
        self._second.start()
        until(self._second.is_ready, what="the second gateway is ready")
        return self

    def __exit__(self, *_: object) -> None:
        self._second.stop(signal.SIGKILL)
        until(self._second.gone, what="the second gateway is gone")

    @property
    def pids(self) -> tuple[int, int | None]:
        return self._stack.ready["gateway_pid"], self._second.pid

    def tick(self) -> None:
        """Start the second one again when it was killed and it is time."""
        self._second.tick()

    def kill(self, number: int) -> None:
        """Kill one of the two, if it is there just now."""
        killed(self.pids[number])


def killed(pid: int | None, sig: int = signal.SIGKILL) -> None:
    """Send `sig` to a process that may be gone already."""
    with contextlib.suppress(ProcessLookupError):
        if pid is not None:
            os.kill(pid, sig)


def rss_mb(pid: int, field: str = "VmRSS") -> float:
    """Resident memory of a process, in MiB."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) / 1024


def peak_mb(pid: int) -> float:
    """The most that it ever was."""
    return rss_mb(pid, "VmHWM")


def kill(pid: int, sig: int = signal.SIGKILL) -> None:
    os.kill(pid, sig)
