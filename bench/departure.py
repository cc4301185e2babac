"""From `submit` to the request at the provider: one job at a time, on a service that has nothing else to do.

The provider is a socket of this process, so that both moments are of one clock.
"""

from __future__ import annotations

import socket
import statistics
import tempfile
import threading
import time
from pathlib import Path

from bench.report.figures import Row, row
from bench.scale import scaled
from bench.service import process, valkey
from bench.stub import RESPONSE
from headrace import Headrace
from headrace.settings import Settings

JOBS = 200


class Provider:
    """Answers every request at once; `arrived` has the time at which each came."""

    def __init__(self) -> None:
        self.arrived: list[float] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            while connection.recv(1 << 16):  # small requests come in one piece
                self.arrived.append(time.perf_counter())
                connection.sendall(RESPONSE)

    def close(self) -> None:
        self._listener.close()


def rows() -> list[Row]:
    """Milliseconds from `submit` to the provider."""
    took = sorted(departures(scaled(JOBS, least=20)))
    name = "submit to the request at the provider, one job at a time"
    return [
        row(f"{name}, p50", statistics.median(took), "ms", 4.0, at_most=True),
        row(f"{name}, p99", took[len(took) * 99 // 100], "ms"),
    ]


def departures(jobs: int) -> list[float]:
    provider = Provider()
    with tempfile.TemporaryDirectory() as name, valkey(Path(name) / "valkey") as server:
        folder = Path(name)
        environment = {
            "HEADRACE_REDIS_URL": server.url,
            "HEADRACE_FILES": str(folder / "files"),
            "OPENAI_BASE_URL": provider.url,
            "OPENAI_API_KEY": "stub",
        }
        with (
            process(folder / "ready", "headrace_worker", environment, "--role", "interactive"),
            Headrace(server.url, settings=Settings(files=str(folder / "files"))) as client,
        ):
            client.submit("openai/stub", "warm up").result()
            took = []
            for number in range(jobs):
                provider.arrived.clear()
                began = time.perf_counter()
                client.submit("openai/stub", f"Extract number {number}.").result()
                took.append((provider.arrived[0] - began) * 1000)
    provider.close()
    return took
