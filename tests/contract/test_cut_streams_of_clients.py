"""Streams of the Python clients of other projects, broken off by a gateway's death: what asks again is given the same answer."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from clients_of_python import client_python
from gateways import SLOW, another_gateway, kill
from stack import Stack, until

PROGRAM = Path(__file__).parent / "clients/cut_stream.py"
MODELS = '{"gpt-5-mini": "rehearsal/small"}'


@pytest.mark.parametrize("kind", ["chat", "responses"])
@pytest.mark.parametrize("client", ["agents", "pydantic-ai", "langchain"])
def test_a_stream_that_was_broken_off_is_asked_for_again_and_paid_once(stack: Stack, client: str, kind: str) -> None:
    before = len(stack.calls())
    with (
        another_gateway(stack, f"first-{client}-{kind}", HEADRACE_MODELS=MODELS) as (first, process),
        another_gateway(stack, f"second-{client}-{kind}", HEADRACE_MODELS=MODELS) as (second, _),
    ):
        arguments = [client_python(), str(PROGRAM), client, kind, first, second, f"{SLOW} {client} {kind}"]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as asking:
            assert asking.stdout is not None
            begun = asking.stdout.readline()
            if begun == "begun\n":
                kill(process.pid)
            out, err = asking.communicate(timeout=120)
    assert begun == "begun\n", err
    told = json.loads(out)
    assert told["tries"] > 1, err
    until(lambda: stack.calls()[-1].finished_at is not None, what="the call has ended")
    assert len(stack.calls()) - before == 1
    assert f"w{59}" in told["text"]
    assert told["text"].count("w0 ") == 1
