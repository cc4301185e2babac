"""A model that was used before a fork is used and closed in the child, and the parent's connections go on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from fake_transport import answer
from stub_provider import stub_provider

SCRIPT = """
import gc, os, signal, sys
from headrace_providers import OpenAIChatCompletion

model = OpenAIChatCompletion("m", base_url=sys.argv[1], api_key="none-such", retry=False)
print("parent", model("<k>").data, flush=True)
child = os.fork()
signal.alarm(30)
if child == 0:
    print("child", model("<k>").data, flush=True)
    with model:
        pass
    del model
    gc.collect()
    os._exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
for _ in range(3):
    print("parent", model("<k>").data, flush=True)
with model:
    pass
"""


@pytest.mark.parametrize("kind", ["sdk", "http"])
def test_a_fork_after_use(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_TRANSPORT", kind)
    with stub_provider({"k": answer("hello")}) as provider:
        command = [sys.executable, "-c", SCRIPT, provider.url]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=90)
    assert done.stdout.split("\n")[:-1] == ["parent hello", "child hello", "7", *["parent hello"] * 3], done.stderr
