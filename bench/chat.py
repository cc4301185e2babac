"""Plain chats through the gateway, beside LiteLLM's proxy and beside a call direct to the provider. `python -m bench.run chat`.

The same raw client asks all three, in rounds that take turns; the provider is the raw stub at 0 ms. Both services check the
caller's token. headrace is a gateway, an interactive worker and Valkey; the proxy is one process, in its own environment.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import statistics
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from headrace_api.auth import EVERY_JOB, SCOPES, Gate

from bench.chat_client import Chats, ask
from bench.contenders import ENVIRONMENTS, NO_ENVIRONMENT, Failed, is_ready
from bench.peers.contender import cpu_seconds, family
from bench.report.figures import Figures, Row, row, versus
from bench.scale import progress, scaled
from bench.service import process, started, stub, valkey
from headrace.local.ports import free_port

ROUNDS, ALONE, TOGETHER, IN_FLIGHT = 3, 200, 1500, 50
HEADRACE, LITELLM, DIRECT = "headrace", "LiteLLM's proxy", "direct"
START_S = 120.0
WHY = "a job is stored before it runs and its answer before it is given, in three processes; a proxy stores nothing"
# As its page on production recommends. The map of costs would be fetched from the network at the start.
PRODUCTION = {"LITELLM_MODE": "PRODUCTION", "LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}


class Endpoint(NamedTuple):
    """Who answers chats: a base URL, the model's name there, and the processes whose CPU counts."""

    url: str
    model: str
    token: str = ""
    pids: Sequence[int] = ()
    parts: Mapping[str, int] = MappingProxyType({})  # those processes by name, where they are told apart

    async def ask(self, count: int, in_flight: int) -> Chats:
        return await ask(self.url, self.model, self.token, count, in_flight)


class Measured(NamedTuple):
    """All rounds of an endpoint: the latencies with one call in flight; with many, the seconds, CPU seconds (in all, and of the
    parts) and the count."""

    latencies_ms: list[float]
    seconds: float
    cpu_seconds: float
    count: int
    parts: Mapping[str, float] = MappingProxyType({})


def figures() -> Figures:
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        url = stack.enter_context(stub(folder))
        endpoints = {DIRECT: Endpoint(url, "stub"), HEADRACE: stack.enter_context(headrace(folder, url))}
        versions, absent = {}, {}
        if is_ready("litellm"):
            try:
                endpoints[LITELLM] = stack.enter_context(litellm(folder, url))
                versions["litellm"] = litellm_version()
            except Failed as error:
                progress(f"chat, {error}")
                absent["litellm"] = "failed"
        else:
            absent["litellm"] = NO_ENVIRONMENT
        found = asyncio.run(measured(endpoints))
    return Figures(rows(found), versions, absent)


async def measured(endpoints: Mapping[str, Endpoint]) -> dict[str, Measured]:
    found = {name: Measured([], 0.0, 0.0, 0) for name in endpoints}
    for endpoint in endpoints.values():
        await endpoint.ask(scaled(300, least=2 * IN_FLIGHT), IN_FLIGHT)  # warm up
    for number in range(ROUNDS):
        for name, endpoint in endpoints.items():
            alone = await endpoint.ask(scaled(ALONE, least=50), 1)
            used, of_parts = cpu_seconds(endpoint.pids), used_by(endpoint)
            together = await endpoint.ask(scaled(TOGETHER, least=2 * IN_FLIGHT), IN_FLIGHT)
            used = cpu_seconds(endpoint.pids) - used
            of_parts = {part: now - of_parts[part] for part, now in used_by(endpoint).items()}
            found[name] = added(found[name], alone, together, used, of_parts)
            tell(name, number, found[name])
    return found


def used_by(endpoint: Endpoint) -> dict[str, float]:
    """CPU seconds of each part so far."""
    return {part: cpu_seconds([pid]) for part, pid in endpoint.parts.items()}


def added(before: Measured, alone: Chats, together: Chats, used: float, of_parts: Mapping[str, float]) -> Measured:
    return Measured(
        [*before.latencies_ms, *alone.latencies_ms],
        before.seconds + together.seconds,
        before.cpu_seconds + used,
        before.count + len(together.latencies_ms),
        {part: before.parts.get(part, 0.0) + more for part, more in of_parts.items()},
    )


def tell(name: str, number: int, so_far: Measured) -> None:
    p50, rate = statistics.median(so_far.latencies_ms), so_far.count / so_far.seconds
    progress(f"chat, round {number + 1} of {ROUNDS}: {name}, p50 {p50:.2f} ms, {rate:.0f}/s")


def rows(found: Mapping[str, Measured]) -> list[Row]:
    """Make the rows of what was measured: `direct`, headrace, and the proxy if it was there."""
    p50 = {name: statistics.median(each.latencies_ms) for name, each in found.items()}
    served = {name: each for name, each in found.items() if name != DIRECT}
    rate = {name: each.count / each.seconds for name, each in served.items()}
    cpu_ms = {name: each.cpu_seconds / each.count * 1000 for name, each in served.items()}
    made = [row("latency of a plain chat, one in flight, p50, direct to the provider", p50[DIRECT], "ms")]
    for name in served:
        bound = {HEADRACE: (4.0, 450.0, 2.6)}.get(name, (None, None, None))
        latency = f"added latency of a plain chat, one in flight, p50, {name}"
        made += [
            row(latency, p50[name] - p50[DIRECT], "ms", bound[0], at_most=True),
            row(f"plain chats a second, {IN_FLIGHT} in flight, {name}", rate[name], "1/s", bound[1]),
            row(f"CPU of a plain chat, {name}", cpu_ms[name], "ms", bound[2], at_most=True),
        ]
    made += [
        row(f"CPU of a plain chat, headrace's {part}", used / served[HEADRACE].count * 1000, "ms")
        for part, used in served[HEADRACE].parts.items()
    ]
    if LITELLM in served:
        added_ms = {name: p50[name] - p50[DIRECT] for name in served}
        made += [
            versus(f"plain chats a second vs {LITELLM}", rate[HEADRACE], rate[LITELLM], why=WHY),
            versus(f"plain chats per CPU-second vs {LITELLM}", cpu_ms[LITELLM], cpu_ms[HEADRACE], why=WHY),
            versus(f"shorter added latency vs {LITELLM}", added_ms[LITELLM], added_ms[HEADRACE], why=WHY),
        ]
    return made


@contextmanager
def headrace(folder: Path, url: str) -> Iterator[Endpoint]:
    with valkey(folder / "valkey") as server:
        secret = secrets.token_hex(16)
        environment = {
            "HEADRACE_GATEWAY_OPEN": "0",
            "HEADRACE_STREAM_SECRET": secret,
            "HEADRACE_REDIS_URL": server.url,
            "HEADRACE_FILES": str(folder / "files"),
            "OPENAI_BASE_URL": url,
            "OPENAI_API_KEY": "stub",
        }
        with (
            process(folder / "worker", "headrace_worker", environment, "--role", "interactive") as worker,
            process(folder / "gateway", "headrace_api", environment, "--port", "0") as gateway,
        ):
            assert server.pid is not None
            base = json.loads((folder / "gateway").read_text())["url"]
            token = Gate(secret.encode(), is_open=False).sign(EVERY_JOB, SCOPES, lasts_s=3600)
            parts = {"gateway": gateway.pid, "worker": worker.pid, "valkey": server.pid}
            yield Endpoint(f"{base}/v1", "openai/stub", token, list(parts.values()), parts)


def litellm_version() -> str:
    command = [
        str(ENVIRONMENTS / "litellm" / "bin" / "python"),
        "-c",
        "from importlib.metadata import version; print(version('litellm'))",
    ]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@contextmanager
def litellm(folder: Path, url: str) -> Iterator[Endpoint]:
    config = folder / "litellm.json"  # JSON is YAML
    deployment = {"model": "openai/stub", "api_base": url, "api_key": "stub"}
    settings = {"set_verbose": False, "json_logs": True, "request_timeout": 600}
    models = [{"model_name": "stub", "litellm_params": deployment}]
    config.write_text(json.dumps({"model_list": models, "litellm_settings": settings}))
    port = free_port()
    program = str(ENVIRONMENTS / "litellm" / "bin" / "litellm")
    arguments = ["--config", str(config), "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
    key = f"sk-{secrets.token_hex(32)}"
    with started([program, *arguments], PRODUCTION | {"LITELLM_MASTER_KEY": key}) as running:
        base = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + START_S
        while not is_up(f"{base}/health/liveliness"):
            if running.poll() is not None or time.monotonic() > deadline:
                raise Failed("LiteLLM's proxy did not start")
            time.sleep(0.1)
        yield Endpoint(f"{base}/v1", "stub", key, family(running.pid))


def is_up(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False
