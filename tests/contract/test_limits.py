"""The limits of a running service: configured, shown, reported where workers differ, and refused where they are none."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fleet import Worker
from stack import Stack, headrace, started, until

ROOT = Path(__file__).parents[2]
LIMITS = '{"rehearsal": {"requests_per_min": 600}}'


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with started(
        tmp_path_factory.mktemp("limits"), "--no-flower", "--no-gateway", environment={"HEADRACE_LIMITS": LIMITS}
    ) as stack:
        yield stack


def shown(stack: Stack) -> list[dict[str, Any]]:
    done = stack.run("limits", "--json")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_what_the_docs_say_to_try(stack: Stack, tmp_path: Path) -> None:
    programs = re.findall(r"```sh\n(.*?)```", (ROOT / "docs" / "spend.md").read_text(), re.DOTALL)
    (program,) = [program for program in programs if "headrace limits" in program]
    assert LIMITS in (ROOT / "docs" / "spend.md").read_text()
    environment = {
        **stack.client_environment,
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
    assert len((tmp_path / "rows.jsonl").read_text().splitlines()) == 30
    limit = json.loads(done.stdout.splitlines()[-1])
    assert (limit["name"], limit["configured"], limit["configurations"]) == ("rehearsal", {"requests": 600}, 1)
    assert limit["requests"] >= 20  # of a minute that may have begun meanwhile
    calls = sorted(call.received_at for call in stack.calls())
    assert calls[-1] - calls[0] >= (30 - 4) / 10 - 0.5


def test_workers_that_differ_are_reported_and_the_strictest_holds(stack: Stack) -> None:
    other = Stack(stack.folder, stack.process, stack.environment | {"HEADRACE_LIMITS": LIMITS.replace("600", "90")})
    worker = Worker(other, "bulk", "bulk-other")
    worker.start()
    try:
        worker.wait_ready()
        found = until(
            lambda: [each for each in shown(stack) if each["configurations"] > 1], what="the difference is shown"
        )
        assert found[0]["configured"] == {"requests": 90}
        done = headrace("doctor", "--json", cwd=stack.folder, env=stack.client_environment)
        assert "different limits of rehearsal; the strictest holds" in done.stdout
        log = stack.folder / "bulk-other.log"
        until(lambda: "workers have different limits; the strictest holds" in log.read_text(), what="the log says so")
    finally:
        worker.stop()
    until(lambda: shown(stack)[0]["configured"] == {"requests": 600}, what="the other's limit is gone")


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ('{"rehearsal": {"requests_per_min": 0}}', "HEADRACE_LIMITS: /rehearsal/requests_per_min: Expected `int` >= 1"),
        ('{"nobody/x": {"in_flight": 3}}', "HEADRACE_LIMITS: /nobody~1x: must be `provider` or `provider/model`"),
    ],
)
def test_a_worker_does_not_start_with_a_limit_that_is_none(stack: Stack, value: str, why: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "headrace_worker", "--role", "bulk"],
        env=stack.worker_environment | {"HEADRACE_LIMITS": value},
        cwd=stack.folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert why in done.stdout + done.stderr
    doctor = headrace("doctor", cwd=stack.folder, env=stack.client_environment | {"HEADRACE_LIMITS": value})
    assert why in doctor.stdout


def test_a_forecast_knows_how_long_the_limits_of_the_service_make_it(stack: Stack, tmp_path: Path) -> None:
    until(lambda: bool(shown(stack)), what="workers have told their limits")
    source = tmp_path / "items.jsonl"
    source.write_text("".join(json.dumps({"text": f"Item {number}"}) + "\n" for number in range(1200)))
    done = stack.run("forecast", str(source), "--model", "rehearsal/small")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["forecast"]["minutes"] == 2.0


def test_calls_that_wait_for_a_limit_stay_in_their_tier(stack: Stack) -> None:
    """A limit of the service is one of all tiers: the dear one is no way out of it."""
    batch = stack.extract([{"id": str(n), "text": f"patient {n}"} for n in range(60)], "--economy-fallback")
    until(lambda: stack.batch(batch)["state"] == "completed", what="the batch has ended", seconds=60)
    until(lambda: all(call.ended_at for call in stack.calls_of(batch)), what="the provider has ended its calls")
    assert {call.used.tier for call in stack.calls_of(batch) if call.used} == {"flex"}
