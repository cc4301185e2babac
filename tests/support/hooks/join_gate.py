"""A hook for workers: the join writes its process id into the gate and waits while the gate is there."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import headrace_worker.execution.batch_join


def install(_: Any) -> None:
    gate = Path(os.environ["JOIN_GATE"])
    write = headrace_worker.execution.batch_join._write

    def at_the_gate(*arguments: Any) -> int:
        if gate.exists():
            gate.write_text(str(os.getpid()))
        while gate.exists():
            time.sleep(0.05)
        return write(*arguments)

    headrace_worker.execution.batch_join._write = at_the_gate
