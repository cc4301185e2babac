"""One large batch over HTTP: its upload, the check of its lines, the first result, and what memory it takes.

`python -m bench.batch_api [LINES [BYTES [RESULTS]]]`: so many lines (50,000) of about so many bytes (2,000), followed until so
many results (1,000) have come; then the batch is cancelled. `make bench-batch-api LINES=1000000 BYTES=250`.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import redis

from bench.report.figures import Row, row
from bench.scale import progress
from bench.service import memory_mb, process, stub, valkey
from headrace.local.ports import free_port

MIB = 1024 * 1024
LOOK_S = 0.01


class Lines(NamedTuple):
    """A file of requests: so many lines, their file, its size in MiB."""

    count: int
    file: Path
    mib: float


def written(folder: Path, count: int, size: int) -> Lines:
    file = folder / "requests.jsonl"
    body: dict[str, Any] = {"model": "openai/stub", "temperature": 0, "max_tokens": 100}
    with file.open("w") as out:
        for number in range(count):
            messages = [{"role": "user", "content": f"Item {number}. " + "x" * max(0, size - 180)}]
            line = {"custom_id": f"request-{number}", "method": "POST", "url": "/v1/chat/completions"}
            out.write(json.dumps(line | {"body": body | {"messages": messages}}) + "\n")
    return Lines(count, file, file.stat().st_size / MIB)


@contextlib.contextmanager
def peak(look: Callable[[], float]) -> Iterator[list[float]]:
    """Yield a list whose only value is the most that `look` has returned."""
    found, over = [look()], threading.Event()

    def watch() -> None:
        while not over.wait(LOOK_S):
            found[0] = max(found[0], look())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()


def measured(folder: Path, count: int, size: int, results: int) -> list[Row]:
    lines = written(folder, count, size)
    progress(f"{count:,} lines, {lines.mib:.0f} MiB")
    with stub(folder) as url, valkey(folder / "valkey") as server:
        environment = {
            "HEADRACE_REDIS_URL": server.url,
            "HEADRACE_FILES": str(folder / "files"),
            "HEADRACE_FILE_MB": "4096",
            "HEADRACE_STREAM_SECRET": "a secret of the benchmark's",
            "OPENAI_BASE_URL": url,
            "OPENAI_API_KEY": "stub",
        }
        port = str(free_port())
        with (
            process(folder / "worker", "headrace_worker", environment, "--role", "bulk") as worker,
            process(folder / "gateway", "headrace_api", environment, "--port", port) as gateway,
            httpx.Client(base_url=f"http://127.0.0.1:{port}/v1", timeout=600) as client,
        ):
            memory = redis.Redis.from_url(server.url)
            idle_mib = memory.info("memory")["used_memory"] / MIB
            client.get("/files")
            idle_mb = memory_mb(gateway.pid, "VmRSS")
            with peak(lambda: memory_mb(gateway.pid, "VmRSS")) as held:
                began = time.perf_counter()
                with lines.file.open("rb") as content:
                    form = {"purpose": "batch"}
                    file = client.post("/files", data=form, files={"file": ("r.jsonl", content)}).json()["id"]
                upload_s = time.perf_counter() - began
                body = {"input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
                batch = client.post("/batches", json=body).json()["id"]
                created = time.perf_counter()
                lag = 0.0
                while client.get(f"/batches/{batch}").json()["status"] == "validating":
                    asked = time.perf_counter()
                    client.get("/files?limit=1")
                    lag = max(lag, time.perf_counter() - asked)
                    time.sleep(LOOK_S)
                check_s = time.perf_counter() - created
                first_s, seen = None, 0
                with client.stream("GET", f"/batches/{batch}/results") as answer:
                    for text in answer.iter_lines():
                        if not text:
                            continue
                        first_s = first_s or time.perf_counter() - created
                        custom_id = json.loads(text)["custom_id"]
                        if custom_id != f"request-{seen}":
                            raise SystemExit(f"{custom_id} came in the place of {seen}")
                        seen += 1
                        if seen % 50_000 == 0:
                            progress(f"{seen:,} results")
                        if seen >= results:
                            break
                ended_s = time.perf_counter() - created
            client.post(f"/batches/{batch}/cancel")
            peak_mib = memory.info("memory")["used_memory_peak"] / MIB - idle_mib
            return [
                row("lines", count, "", remark=f"{lines.mib:.0f} MiB"),
                row("MiB a second, upload", lines.mib / upload_s, "MiB/s"),
                row(
                    "RSS of the gateway over idle, from the upload to the last result",
                    held[0] - idle_mb,
                    "MB",
                    60,
                    at_most=True,
                ),
                row("MiB a second, check", lines.mib / check_s, "MiB/s", 50 if size >= 1000 else None),
                row("lines a second, check", count / check_s, "1/s"),
                row("slowest other request meanwhile", lag * 1000, "ms"),
                row("from the creation to the first result", first_s or 0, "s", 5, at_most=True),
                row(f"from the creation to result {seen}", ended_s, "s"),
                row("Redis memory over idle", peak_mib, "MiB", 64, at_most=True),
                row("peak RSS of the worker", memory_mb(worker.pid, "VmHWM"), "MB"),
            ]


def main(arguments: list[str]) -> int:
    count, size, results = (int(text) for text in (*arguments, *("50000", "2000", "1000")[len(arguments) :]))
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
        rows = measured(Path(folder), count, size, results)
    for each in rows:
        print(f"{each.name:70} {each.value:>12,.1f} {each.unit:6} {each.remark}".rstrip())
    return int(any(each.holds is False for each in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
