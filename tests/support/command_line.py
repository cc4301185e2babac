"""The command line within the test's process: what a command ends with and says, and what was neither."""

from __future__ import annotations

import io
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from headrace.cli.main import main

MAX_S = 20


class Ended(NamedTuple):
    """`crash` is the traceback of what ended it, when that was no exit."""

    code: int
    out: bytes
    err: bytes
    crash: str = ""


class TookTooLongError(BaseException):
    """A command that has not ended within `MAX_S`."""


@contextmanager
def standing(folder: Path, environment: Mapping[str, str]) -> Iterator[None]:
    """In `folder`, with no other variables than a few that a process needs, and the usual umask."""
    before, here, mask = dict(os.environ), Path.cwd(), os.umask(0o022)
    os.environ.clear()
    os.environ.update({"PATH": before["PATH"], "HOME": before.get("HOME", "/"), **environment})
    os.chdir(folder)
    try:
        yield
    finally:
        os.umask(mask)
        os.chdir(here)
        os.environ.clear()
        os.environ.update(before)


def on_alarm(number: int, frame: FrameType | None) -> None:
    raise TookTooLongError


def command(*arguments: str, folder: Path, environment: Mapping[str, str], stdin: bytes = b"") -> Ended:
    streams = sys.stdin, sys.stdout, sys.stderr, sys.argv
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    sys.stdin, sys.stdout, sys.stderr = io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8"), out, err
    sys.argv = ["headrace", *arguments]
    crash, code, path = "", 0, list(sys.path)
    alarm = signal.signal(signal.SIGALRM, on_alarm)
    signal.setitimer(signal.ITIMER_REAL, MAX_S)
    try:
        with standing(folder, environment):
            main(list(arguments))
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 0 if error.code is None else 1
    except BaseException:
        crash = traceback.format_exc()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, alarm)
        sys.stdin, sys.stdout, sys.stderr, sys.argv = streams
        sys.path[:] = path
    written = []
    for stream in (out, err):
        stream.flush()
        buffer = stream.buffer
        assert isinstance(buffer, io.BytesIO)
        written.append(buffer.getvalue())
    return Ended(code, written[0], written[1], crash)
