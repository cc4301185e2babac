"""The command's own arguments in the table of processes, which every user of the machine can read."""

from __future__ import annotations

import sys
from pathlib import Path

SHOWN_WHOLE = frozenset({"up", "worker", "gateway", "doctor", "version", "completion"})
"""Commands whose arguments hold no text and no id, and by which their processes are told apart."""


def hide_arguments() -> None:
    """Take what stands after the command's name out of what `ps` shows: a prompt, or the id by which an answer is read.

    It is there until this is called, some hundredths of a second: a text that must never be seen comes by standard input or in
    a file. On Linux only; elsewhere nothing happens.
    """
    if sys.platform != "linux" or len(sys.argv) < 3 or sys.argv[1] in SHOWN_WHOLE:
        return
    import ctypes

    try:
        fields = Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()
        start, end = int(fields[45]), int(fields[46])  # `arg_start` and `arg_end`, counted after the name
        words = Path("/proc/self/cmdline").read_bytes().split(b"\0")[:-1]
        kept = sum(len(word) + 1 for word in words[: len(words) - len(sys.argv) + 2])
        if 0 < start < start + kept < end and sum(len(word) + 1 for word in words) == end - start:
            ctypes.memset(start + kept, 0, end - start - kept)
    except (OSError, ValueError, IndexError):
        return
