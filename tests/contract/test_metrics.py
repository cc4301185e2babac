"""`/metrics` of a running service: its figures are those of the account, whoever is asked, and nothing else is told."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from fleet import more_workers
from gateways import another_gateway, ask
from prometheus_client.parser import text_string_to_metric_families
from stack import Stack, headrace, started, until

from headrace import telemetry
from headrace.local.ports import free_port
from headrace.telemetry import METRICS, Metric

ROOT = Path(__file__).parents[2]
CANARY, KEY = "canaryprompt9", "sk-canarykey9canarykey9"
TOKEN = "a-token-of-the-scrapers"
BY_NAME = {metric.name: metric for metric in METRICS}
Sample = tuple[str, dict[str, str], float]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    environment = {"HEADRACE_METRICS": str(free_port(row=8)), "VLLM_API_KEY": KEY}
    with started(tmp_path_factory.mktemp("metrics"), "--no-flower", environment=environment) as stack:
        yield stack


def parsed(body: bytes) -> list[Sample]:
    families = text_string_to_metric_families(body.decode())
    return [(sample.name, sample.labels, sample.value) for family in families for sample in family.samples]


def workers_of(stack: Stack) -> dict[str, list[str]]:
    """Addresses of the workers' metrics by their role, as Prometheus discovers them."""
    found: dict[str, list[str]] = {}
    for each in ask(f"{stack.ready['gateway']}/metrics/workers").json:
        found.setdefault(each["labels"]["role"], []).extend(each["targets"])
    return found


def of_workers(stack: Stack) -> list[Sample]:
    places = [place for places in workers_of(stack).values() for place in places]
    return [sample for place in places for sample in parsed(ask(f"http://{place}/metrics").body)]


def of_gateway(stack: Stack) -> list[Sample]:
    return parsed(ask(f"{stack.ready['gateway']}/metrics").body)


def summed(samples: list[Sample], metric: Metric, *labels: str, suffix: str = "") -> Counter[tuple[str, ...]]:
    """The sums of a metric by the values of these labels."""
    sums: Counter[tuple[str, ...]] = Counter()
    for name, has, value in samples:
        if name == metric.name + suffix:
            sums[tuple(has[label] for label in labels)] += value  # pyright: ignore[reportArgumentType]
    return sums


def test_what_the_docs_say_to_try(stack: Stack, tmp_path: Path) -> None:
    (program,) = re.findall(r"```sh\n(.*?)```", (ROOT / "docs" / "metrics.md").read_text(), re.DOTALL)
    environment = {
        **stack.client_environment,
        "GATEWAY": stack.ready["gateway"],
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    done = subprocess.run(
        ["bash", "-c", f"set -euo pipefail\n{program}"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert 'headrace_calls_total{model="small",outcome="ok",provider="rehearsal"} ' in done.stdout
    assert 'headrace_queue_length{queue="bulk"} 0.0' in done.stdout


def test_calls_and_ends_are_those_of_the_account(stack: Stack) -> None:
    before, paid = of_workers(stack), len(stack.calls())
    lines = [{"text": f"Line {number % 30} is blue."} for number in range(40)]
    lines += [
        {"text": "[[rehearsal fault=400]] Line is green."},
        {"text": "[[rehearsal fault=500 times=1]] Line is red."},
    ]
    stack.extract(lines)
    streamed = stack.run("run", f"[[rehearsal tps=200]] {CANARY} four words", "--model", "rehearsal/small", "--stream")
    assert streamed.returncode == 0, streamed.stderr
    limited = stack.run("run", "[[rehearsal fault=429 times=1]] Again.", "--model", "rehearsal/small")
    assert limited.returncode == 0, limited.stderr

    def grown(metric: Metric, *labels: str, suffix: str = "") -> Counter[tuple[str, ...]]:
        after = summed(of_workers(stack), metric, *labels, suffix=suffix)
        after.subtract(summed(before, metric, *labels, suffix=suffix))
        return Counter({key: count for key, count in after.items() if count})

    until(lambda: sum(grown(telemetry.ENDS).values()) == 44, what="42 items and two jobs have ended")
    calls = stack.calls()[paid:]
    outcomes = grown(telemetry.CALLS, "outcome")
    assert outcomes == {("ok",): 33, ("invalid_request",): 1, ("provider_unavailable",): 1, ("rate_limited",): 1}
    assert sum(outcomes.values()) == len(calls)
    assert grown(telemetry.CALL_SECONDS, suffix="_count") == {(): len(calls)}
    assert grown(telemetry.FIRST_TOKEN_SECONDS, suffix="_count") == {(): 1}
    assert grown(telemetry.ENDS, "kind", "state") == {
        ("item", "succeeded"): 41,
        ("item", "failed"): 1,
        ("job", "succeeded"): 2,
    }
    assert grown(telemetry.TOKENS, "kind")["output",] == sum(call.tokens for call in calls)
    assert grown(telemetry.SAVED, "cause") == {("join",): 10}
    assert grown(telemetry.RETRIES, "code") == {("provider_unavailable",): 1, ("rate_limited",): 1}
    assert grown(telemetry.RATE_LIMITED) == {(): 1}
    assert grown(telemetry.CALLS_IN_FLIGHT) == {}
    stack.extract(lines[:3])  # a variant of its own: nothing is known of it
    until(lambda: grown(telemetry.CACHE_MISSES)[()] >= 35, what="its questions were looked up")


def test_every_sample_is_of_the_table_and_tells_nothing_of_anybody(stack: Stack) -> None:
    job = stack.run("run", f"{CANARY} is odd.", "--model", "rehearsal/small", "--detach").stdout.strip()
    unknown = stack.run("run", CANARY, "--model", f"rehearsal/{CANARY}-model-404", "--detach")
    assert unknown.returncode == 0, unknown.stderr
    batch = stack.extract([{"text": f"{CANARY} is even."}])
    until(lambda: stack.batch(batch)["state"] == "completed", what="the batch is done")
    stack.run("jobs", "show", job)
    of_gateway(stack)  # its first answer counts from the next one on
    gateway, workers = of_gateway(stack), of_workers(stack)
    for name, labels, _ in (*gateway, *workers):
        metric = BY_NAME.get(name) or BY_NAME[re.sub(r"_(bucket|sum|count)$", "", name)]
        assert set(labels) - {"le"} == {label.name for label in metric.labels}
        for value in labels.values():
            assert not re.search(r"job_|batch_|sk-|hr1\.", value), (name, value)
            assert KEY not in value
            assert CANARY not in value or value.endswith("-model-404"), (name, value)
    told = {BY_NAME.get(name, name) for name, _, _ in (*gateway, *workers)}
    for metric in METRICS:
        if metric.source in ("process", "gateway") or metric in (
            telemetry.QUEUE_LENGTH,
            telemetry.CALLS,
            telemetry.LEADS,
        ):
            assert metric in told or metric.kind == "histogram", metric.name
    assert summed(workers, telemetry.LEADS) == {(): 1}


def test_workers_of_one_machine_take_a_port_each(stack: Stack) -> None:
    assert {role: len(places) for role, places in workers_of(stack).items()} == dict.fromkeys(
        ("interactive", "bulk", "quarantine"), 1
    )
    with more_workers(stack, "bulk", "bulk"):
        until(lambda: len(workers_of(stack)["bulk"]) == 3, what="two more are discovered")
        places = [place for places in workers_of(stack).values() for place in places]
        assert len(set(places)) == 5
        assert all(ask(f"http://{place}/metrics").status == 200 for place in places)
    until(lambda: len(workers_of(stack)["bulk"]) == 1, what="they are gone")


def test_a_worker_answers_this_machine_and_no_page(stack: Stack) -> None:
    (place,) = workers_of(stack)["bulk"]
    assert ask(f"http://{place}/metrics", Host="evil.example").status == 403
    assert ask(f"http://{place}/metrics", Origin="http://evil.example").status == 403
    assert ask(f"http://{place}/metrics", "POST", b"{}").status == 405
    assert ask(f"http://{place}/").status == 404
    assert ask(f"http://{place}/metrics", Authorization="Bearer x").status == 200, "it asks for none"


def test_with_a_token_a_gateway_and_a_worker_ask_for_it(stack: Stack) -> None:
    secret = "secret-of-the-gateway-1"
    environment = {"HEADRACE_METRICS_TOKEN": TOKEN}
    closed = {"HEADRACE_STREAM_SECRET": secret, "HEADRACE_GATEWAY_OPEN": "0"}
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    with another_gateway(stack, "closed", **environment, **closed) as (base, _):
        assert ask(f"{base}/metrics").status == 401
        assert ask(f"{base}/metrics/workers").status == 401
        assert ask(f"{base}/metrics", Authorization="Bearer another-token-entirely").status == 401
        assert ask(f"{base}/metrics", **bearer).status == 200
        assert ask(f"{base}/metrics/workers", **bearer).status == 200
        assert ask(f"{base}/v1/jobs", **bearer).status == 401, "it is good for metrics alone"
        owner = headrace("gateway", "--token", env={**stack.client_environment, **closed}, cwd=stack.folder)
        assert ask(f"{base}/metrics", Authorization=f"Bearer {owner.stdout.strip()}").status == 200
    with another_gateway(stack, "open", **environment) as (base, _):
        assert ask(f"{base}/metrics").status == 200
        assert ask(f"{base}/metrics", Host="evil.example").status == 403
        assert ask(f"{base}/metrics", X_Forwarded_For="10.0.0.1").status == 403
    guarded = Stack(stack.folder, stack.process, stack.environment | environment)
    with more_workers(guarded, "bulk"):
        until(lambda: len(workers_of(stack)["bulk"]) == 2, what="it is discovered")
        statuses = [ask(f"http://{place}/metrics").status for place in workers_of(stack)["bulk"]]
        assert sorted(statuses) == [200, 401]
        assert all(ask(f"http://{place}/metrics", **bearer).status == 200 for place in workers_of(stack)["bulk"])


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("0.0.0.0:9464", "HEADRACE_METRICS_TOKEN is not set"),
        ("99999", "65535 at most"),
        ("here", "HEADRACE_METRICS='here'"),
        ("http://localhost:9464/", "HEADRACE_METRICS="),
    ],
)
def test_refuses_an_address_that_may_not_be(stack: Stack, address: str, said: str) -> None:
    done = headrace("worker", "bulk", env={**stack.worker_environment, "HEADRACE_METRICS": address}, cwd=stack.folder)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_the_queue_and_its_age_are_seen_while_no_worker_is_there(tmp_path: Path) -> None:
    """With its workers stopped, what is submitted waits, and the gateway says for how long."""
    with started(tmp_path, "--no-flower") as stack:
        pid = stack.ready["workers"]["interactive"]
        os.kill(pid, 19)
        try:
            for _ in range(3):
                done = stack.run("run", "Wait.", "--model", "rehearsal/small", "--detach")
                assert done.returncode == 0, done.stderr
            until(
                lambda: summed(of_gateway(stack), telemetry.QUEUE_LENGTH, "queue")["interactive",] >= 1, what="it waits"
            )
            until(lambda: summed(of_gateway(stack), telemetry.QUEUE_AGE, "queue")["interactive",] > 0.5, what="it ages")
            states = summed(of_gateway(stack), telemetry.RECORDS, "kind", "state")
            assert states["job", "queued"] == 3
        finally:
            os.kill(pid, 18)
        until(lambda: summed(of_gateway(stack), telemetry.RECORDS)[()] == 0, what="all have ended")
