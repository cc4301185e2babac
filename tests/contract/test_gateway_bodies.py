"""Bodies of 32 MB that are made to hurt: refused or taken, and meanwhile the gateway answers everybody else."""

from __future__ import annotations

import json
import math
import os
import threading
import time
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest
from gateways import another_gateway, ask, peak_mb
from stack import Stack

SIZE = 32 << 20
MAX_CPU_S = 2.0
MAX_MORE_MB = 250
MAX_STILL_S = 0.15
"""CPU time of the gateway between two turns of its loop; on a busy machine `STILL_READINGS` times what reading a text of this
size takes there."""
STILL_READINGS = 4.6
MAX_GAP_S = 1.0  # until somebody else is answered, on a machine that does other things: it took 3.6 s before
TRIES = 3
TURNING = Path(__file__).parents[1] / "support" / "loop_lag_gateway.py"
HEAD = b'{"model":"rehearsal/small","messages":[{"role":"user","content":"x"}],"metadata":'


def filled(piece: bytes, begin: bytes = b"", end: bytes = b"") -> bytes:
    return begin + piece * ((SIZE - len(begin) - len(end)) // len(piece)) + end


REFUSED = {
    "lists": filled(b"[],", HEAD + b"[", b"0]}"),
    "nested": filled(b"[", HEAD),
    "objects": filled(b'{"a":0},', HEAD + b"[", b"0]}"),
    "names": HEAD + b"{" + b",".join(b'"%d":0' % n for n in range(2_500_000)) + b"}}",
    "quotes": filled(b'"'),
    "messages": filled(b'{"role":"user","content":""},', b'{"model":"rehearsal/small","messages":[', b"{}]}"),
    "a model": filled(b"x", b'{"model":["', b'"],"messages":[]}'),
}
LONG = {
    "commas": filled(b", ", b'{"model":"rehearsal/small","messages":[{"role":"user","content":"', b'"}]}'),
    "brackets": filled(b"[{,", b'{"model":"rehearsal/small","messages":[{"role":"user","content":"', b'"}]}'),
    "escaped quotes": filled(b'\\",', b'{"model":"rehearsal/small","messages":[{"role":"user","content":"', b'"}]}'),
}
MESSAGE = {"role": "user", "content": "x" * 300}
TOOLS = [{"type": "function", "function": {"name": f"f{n}", "parameters": {"type": "object"}}} for n in range(24_000)]
PATTERNS = [
    {f"n{i}": {"type": "string", "pattern": f"^(?:{n}x{i}\\w{{1,200}})$"} for i in range(199)} for n in range(150)
]
MANY = {
    "messages in bounds": json.dumps({"model": "rehearsal/small", "messages": [MESSAGE] * 60_000}).encode(),
    "metadata": HEAD + json.dumps({f"k{n:0100}": "v" * 40 for n in range(190_000)}).encode() + b"}",
    "tools with patterns": json.dumps(
        {
            "model": "rehearsal/small",
            "messages": [MESSAGE],
            "tools": [
                {
                    "type": "function",
                    "function": {"name": f"f{n}", "parameters": {"type": "object", "properties": each}},
                }
                for n, each in enumerate(PATTERNS)
            ],
        }
    ).encode(),
    "tools": json.dumps({"model": "rehearsal/small", "messages": [MESSAGE], "tools": TOOLS}).encode(),
}


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def cpu_of_reading() -> float:
    """CPU time that a text as large as the bodies takes to be read here, now."""
    began_s = time.thread_time()
    msgspec.json.decode(LONG["escaped quotes"])
    return time.thread_time() - began_s


class Gaps:
    """How long the gateway took to answer at worst, while it was asked again and again."""

    def __init__(self, base: str):
        self.base, self.worst_s, self._over = base, 0.0, threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def _ask(self) -> None:
        while not self._over.is_set():
            began = time.monotonic()
            assert ask(f"{self.base}/v1/jobs/job_none").status == 404
            self.worst_s = max(self.worst_s, time.monotonic() - began)

    def __enter__(self) -> Gaps:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


class Cost(NamedTuple):
    cpu_s: float
    more_mb: float
    gap_s: float
    still_s: float
    reading_s: float
    calm_gap_s: float  # of a gateway that has nothing to read, meanwhile

    def holds(self) -> bool:
        still_s = max(MAX_STILL_S, STILL_READINGS * self.reading_s)
        limits = (MAX_CPU_S, MAX_MORE_MB, MAX_GAP_S + self.calm_gap_s, still_s, math.inf, math.inf)
        return all(figure < limit for figure, limit in zip(self, limits, strict=True))


def cost_of(stack: Stack, name: str) -> Cost:
    """What the body costs a gateway of its own; its answer is checked."""
    named = f"body-{name.replace(' ', '-')}"
    still = stack.folder / f"{named}.still"
    with another_gateway(stack, named, program=(str(TURNING), str(still))) as (base, process):
        ask(f"{base}/v1/jobs", "POST", b"{}")
        before_mb, before_s = peak_mb(process.pid), cpu_s(process.pid)
        with Gaps(base) as gaps, Gaps(stack.ready["gateway"]) as calm:
            answer = ask(f"{base}/v1/jobs", "POST", (REFUSED | LONG | MANY)[name])
            reading_s = cpu_of_reading()
        cost = Cost(
            cpu_s=cpu_s(process.pid) - before_s,
            more_mb=peak_mb(process.pid) - before_mb,
            gap_s=gaps.worst_s,
            still_s=float(still.read_text()),
            reading_s=reading_s,
            calm_gap_s=calm.worst_s,
        )
    assert answer.status in ((400,) if name in REFUSED else (202, 400, 413)), answer.body[:300]
    assert len(answer.body) < 5_000
    if name not in REFUSED:
        assert b"values" not in answer.body, "what stands in a text is no value"
    return cost


@pytest.mark.parametrize("name", [*REFUSED, *LONG, *MANY])
def test_a_body_costs_what_its_length_says(stack: Stack, name: str) -> None:
    # What other processes take from the loop's thread meanwhile is in these figures too. What the body does to it is
    # there each time.
    costs: list[Cost] = []
    while not costs or (len(costs) < TRIES and not costs[-1].holds()):
        costs.append(cost_of(stack, name))
    assert costs[-1].holds(), costs


def test_a_body_of_many_values_within_the_bound_is_taken(stack: Stack) -> None:
    body = json.loads(HEAD + b"0}") | {"metadata": {f"k{n}": "v, {w}" for n in range(190_000)}}
    answer = ask(f"{stack.ready['gateway']}/v1/jobs", "POST", body)
    assert b"values" not in answer.body
