"""How far a batch is, for people: lines on standard error, a bar on a terminal."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from typing import Any

from stack import Stack

# The second half of the items comes later, so that there is a progress to show.
OPEN = """
texts = [f"[[rehearsal latency={2000 * (n // 10)}]] Item {n}." for n in range(20)]
batch = client.extract(texts, model="rehearsal/small", cache=False, progress=True)
"""
SYNC = f"""
from headrace import Headrace
client = Headrace()
{OPEN}
print(len(list(batch.results())))
print(batch.wait(progress=False).state)
client.close()
"""


def test_lines_where_there_is_no_terminal(stack: Stack) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SYNC], capture_output=True, text=True, timeout=120, env=stack.client_environment
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["20", "completed"]
    first, *_, last = done.stderr.splitlines()
    assert first.startswith("in_progress: 0/20 items")
    assert last.startswith("completed: 20/20 items")
    assert "tokens" in last


def test_a_bar_on_a_terminal(stack: Stack) -> None:
    ours, theirs = pty.openpty()
    with open(ours, "rb", buffering=0) as screen:
        environment = stack.client_environment | {"TERM": "xterm-256color", "COLUMNS": "120"}
        process = subprocess.Popen(
            [sys.executable, "-c", SYNC], stdout=subprocess.PIPE, stderr=theirs, text=True, env=environment
        )
        os.close(theirs)
        shown = b""
        while piece := read(screen):
            shown += piece
        assert process.communicate(timeout=60)[0].split() == ["20", "completed"]
    assert "━" in shown.decode()
    assert b"20/20" in shown
    assert b"Traceback" not in shown


def read(screen: Any) -> bytes:
    try:
        return screen.read(65536)
    except OSError:  # the process has closed its side
        return b""
