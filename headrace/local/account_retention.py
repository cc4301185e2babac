"""The account of the rehearsal provider keeps the calls of a while: older lines are dropped when the service starts, while
nobody writes it."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

import msgspec

from headrace.text.readable import UNREADABLE


class _AccountLine(msgspec.Struct):
    at: float = 0.0


def drop_old_lines(account: Path, keep_s: float) -> int:
    """Drop the lines that were written more than `keep_s` seconds ago, and return how many those were. What follows the first
    younger one stays."""
    before, dropped = time.time() - keep_s, 0
    decode = msgspec.json.Decoder(_AccountLine).decode
    with suppress(FileNotFoundError), account.open("rb") as file:
        while line := file.readline():
            with suppress(*UNREADABLE):  # half a line of a killed process goes with those around it
                if decode(line).at >= before:
                    break
            dropped += 1
        if not dropped:
            return 0
        temporary = account.with_name(f".{account.name}.{os.getpid()}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as kept:
            kept.write(line)
            while data := file.read(1 << 20):
                kept.write(data)
        temporary.replace(account)
    return dropped
