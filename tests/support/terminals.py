"""A command on a terminal of its own: what a person would see of it."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from typing import Any


def on_terminal(*arguments: str, seconds: float = 60, **options: Any) -> tuple[int, bytes]:
    """Run `headrace …` with standard output and error on a pseudo-terminal; the exit code, and the bytes that it was sent."""
    ours, theirs = pty.openpty()
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "headrace", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
            **options,
        )
    finally:
        os.close(theirs)
    shown, deadline = b"", time.monotonic() + seconds
    try:
        while time.monotonic() < deadline:
            if not select.select([ours], [], [], 0.2)[0]:
                continue
            try:
                piece = os.read(ours, 65536)
            except OSError:  # the last one who had it open is gone
                break
            if not piece:
                break
            shown += piece
        return process.wait(max(0.1, deadline - time.monotonic())), shown
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        os.close(ours)
