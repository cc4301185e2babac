"""Routing over two deployments, judged by the accounts of both: weights, load, and one that is down and recovers."""

from __future__ import annotations

import contextlib
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fleet import client_of, more_workers
from gateways import ask
from headrace_rehearsal import account
from stack import Stack, started, until

from headrace import Headrace
from headrace.errors import JobFailed
from headrace.ledger.breaker_fail import INTERVAL_MS, MAX_FAILURES
from headrace.local.ports import free_port
from headrace.settings import Settings

INTERVAL_S = INTERVAL_MS / 1000
WORKERS = 4


class Deployment:
    """A rehearsal provider of the test's own, at an address that stays the same, with its account."""

    def __init__(self, folder: Path, name: str):
        self.name = name
        self.port = free_port()
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *flags: str) -> None:
        ready = self._folder / f"{self.name}.ready"
        ready.unlink(missing_ok=True)
        command = [
            *(sys.executable, "-m", "headrace_rehearsal", "--port", str(self.port), "--ready-file", str(ready)),
            *("--account", str(self._folder / f"{self.name}.jsonl"), *flags),
        ]
        with (self._folder / f"{self.name}.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        until(ready.exists, what=f"{self.name} listens")

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def calls(self) -> list[account.AccountedCall]:
        path = self._folder / f"{self.name}.jsonl"
        return account.read(path) if path.exists() else []


class Pair:
    """The two deployments, and the service over them."""

    def __init__(self, stack: Stack, alpha: Deployment, beta: Deployment):
        self.stack, self.alpha, self.beta = stack, alpha, beta

    @contextlib.contextmanager
    def running(self, alpha: tuple[str, ...] = (), beta: tuple[str, ...] = ()) -> Iterator[None]:
        self.alpha.start(*alpha)
        self.beta.start(*beta)
        try:
            yield
        finally:
            self.alpha.stop()
            self.beta.stop()

    def counts(self) -> tuple[int, int]:
        return len(self.alpha.calls()), len(self.beta.calls())

    def finished(self, batch: str) -> None:
        until(lambda: self.stack.batch(batch)["state"] == "completed", what="the batch is done", seconds=90)

    def extract(self, alias: str, count: int, text: str = "Item {} is blue.") -> str:
        lines = [{"text": text.format(number)} for number in range(count)]
        source = self.stack.folder / "input.jsonl"
        source.write_text("".join(json.dumps(line) + "\n" for line in lines))
        done = self.stack.run("extract", str(source), "--model", alias, "--no-cache", "--new", "--detach")
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


ALIASES = {
    "weighted": {"deployments": [{"model": "alpha/small", "weight": 3}, {"model": "beta/small"}]},
    "least": {"deployments": ["alpha/small", "beta/small"], "choose": "least_busy"},
    "ordered": ["alpha/small", "beta/small"],
    "dead": ["alpha/small", "alpha/large"],
}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("routing")
    alpha, beta = Deployment(folder, "alpha"), Deployment(folder, "beta")
    rows = {each.name: {"like": "vllm", "base_url": f"http://127.0.0.1:{each.port}/v1"} for each in (alpha, beta)}
    environment = {
        "HEADRACE_PROVIDERS": json.dumps(rows),
        "HEADRACE_MODELS": json.dumps(ALIASES),
        "HEADRACE_CALLS": "16",
    }
    with started(folder / "up", "--no-flower", environment=environment) as stack:
        yield Pair(stack, alpha, beta)


@pytest.fixture(autouse=True)
def aliases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_MODELS", json.dumps(ALIASES))  # of the clients in this process


def grown(before: tuple[int, int], after: tuple[int, int]) -> tuple[int, int]:
    return after[0] - before[0], after[1] - before[1]


def test_calls_are_divided_by_weight_over_all_workers(pair: Pair) -> None:
    with pair.running(), more_workers(pair.stack, "bulk", "bulk", "bulk"):
        before = pair.counts()
        pair.finished(pair.extract("weighted", 800))
        alpha, beta = grown(before, pair.counts())
    assert alpha + beta == 800
    assert alpha == pytest.approx(600, rel=0.1)
    assert beta == pytest.approx(200, rel=0.1)


def test_single_jobs_are_divided_too_and_their_logs_say_whom_was_asked(pair: Pair) -> None:
    with pair.running():
        before = pair.counts()
        jobs = [pair.stack.run("run", f"Hello {n}.", "--model", "weighted", "--json") for n in range(8)]
        assert grown(before, pair.counts()) == (6, 2)
    models = [json.loads(job.stdout)["deployment"] for job in jobs]
    assert sorted(models) == ["alpha"] * 6 + ["beta"] * 2


def test_whom_is_less_busy_gets_more(pair: Pair) -> None:
    with pair.running(("--latency", "400"), ("--latency", "40")):
        before = pair.counts()
        pair.finished(pair.extract("least", 600))
        alpha, beta = grown(before, pair.counts())
    assert alpha + beta == 600
    assert beta > 3 * alpha > 0


def test_a_callers_mistake_neither_falls_back_nor_opens_the_breaker(pair: Pair) -> None:
    with pair.running():
        before = pair.counts()
        batch = pair.extract("ordered", 3 * MAX_FAILURES, "[[rehearsal fault=400]] Item {} is odd.")
        pair.finished(batch)
        assert grown(before, pair.counts()) == (3 * MAX_FAILURES, 0)
        assert pair.stack.batch(batch)["failed"] == str(3 * MAX_FAILURES)
        done = pair.stack.run("run", "Hello.", "--model", "ordered")
        assert done.returncode == 0, done.stderr
        assert grown(before, pair.counts()) == (3 * MAX_FAILURES + 1, 0)
    assert breakers(pair) == {}


def breakers(pair: Pair) -> dict[str, float]:
    """The breakers that `/metrics` shows, by the name of their deployment."""
    text = ask(f"{pair.stack.ready['gateway']}/metrics").body.decode()
    lines = [line for line in text.splitlines() if line.startswith("headrace_breaker_open{")]
    return {line.split('"')[1]: float(line.rpartition(" ")[2]) for line in lines}


async def test_one_that_is_down_is_left_alone_and_comes_back_when_it_is_well(pair: Pair) -> None:
    """Jobs come all the time, at four workers. Each is answered; the dead deployment gets a few calls, then one an interval."""
    with pair.running(("--fault-rate", "503=1.0")), more_workers(pair.stack, *["interactive"] * (WORKERS - 1)):
        before = pair.counts()
        jobs: list[Any] = []
        async with client_of(pair.stack) as client:

            async def ask_until(holds: Any, seconds: float) -> None:
                deadline = time.monotonic() + seconds
                while not holds():
                    assert time.monotonic() < deadline, "not in time"
                    jobs.extend(await client.submit_many("ordered", [f"Job {len(jobs) + n}." for n in range(10)]))
                    await jobs[-1].result()

            begun = time.time()
            await ask_until(lambda: time.time() > begun + 2.5 * INTERVAL_S, 120)
            tried = sorted(call.received_at for call in pair.alpha.calls()[before[0] :])
            assert breakers(pair) == {"alpha/small": pytest.approx(0.75, abs=0.25)}
            opened = next(at for at, later in itertools.pairwise(tried) if later - at > 0.8 * INTERVAL_S)
            first = [at for at in tried if at <= opened]
            probes = [at for at in tried if at > opened]
            # Until it opens: the failures that open it, and the calls that were on their way in all workers then.
            assert MAX_FAILURES <= len(first) <= MAX_FAILURES + 10 * WORKERS
            assert len(probes) == 1
            assert len(jobs) > 5 * len(tried), "and this is what few means"

            pair.alpha.stop()
            pair.alpha.start()
            well = len(pair.alpha.calls())
            await ask_until(lambda: len(pair.alpha.calls()) > well + 20, 120)
            beta = len(pair.beta.calls())
            await ask_until(lambda: len(pair.alpha.calls()) > well + 60, 60)
            assert len(pair.beta.calls()) - beta <= 10 * WORKERS, "all call the first again"
            assert breakers(pair) == {}
            assert {(await job.result()) is not None for job in jobs} == {True}
    assert sum(grown(before, pair.counts())) - len(tried) == len(jobs), "nothing was paid twice"


async def test_when_all_are_down_jobs_wait_and_go_on(pair: Pair) -> None:
    with pair.running(("--fault-rate", "503=1.0")):
        async with client_of(pair.stack) as client:
            first = await client.submit_many("dead", [f"First {n}." for n in range(8)])
            until(lambda: len(breakers(pair)) == 2, what="both breakers are open")
            second = await client.submit_many("dead", [f"Second {n}." for n in range(8)])
            calls = len(pair.alpha.calls())
            until(
                lambda: pair.stack.client.hget(f"{{hr}}:job:{second[0].id}", "state") == b"parked", what="it is parked"
            )
            assert len(pair.alpha.calls()) - calls <= 4, "nobody calls for it"
            pair.alpha.stop()
            pair.alpha.start()
            for job in second:
                assert await job.result()
            for job in first:
                with contextlib.suppress(JobFailed):  # it may have had its five calls before the breakers opened
                    await job.result()


def test_why_a_deployment_was_asked_is_an_event(pair: Pair) -> None:
    def route_of(alias: str) -> tuple[str, str | None]:
        with Headrace(settings=Settings.load(pair.stack.client_environment)) as client:
            job = client.submit(alias, f"Why {alias}?", stream=True)
            events = list(job.stream())
        return next(
            (event["deployment"], event.get("why")) for event in reversed(events) if event["t"] == "attempt.route"
        )

    with pair.running():
        assert route_of("weighted")[1] == "weight"
        assert route_of("least")[1] == "least_busy"
        assert route_of("ordered") == ("alpha", "first")
        assert route_of("alpha/small") == ("alpha", None), "there was nothing to choose"
    with pair.running(alpha=("--fault-rate", "500=1")):
        assert route_of("ordered") == ("beta", "fallback")
