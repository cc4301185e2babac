"""Validate in a child process, which can be killed: the validator holds the interpreter's lock, and has no timeout.

One child per process, started on first use. It ends itself after so much CPU time or memory, and with its parent; the next
request starts another one.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from headrace.errors import InvalidOutput, Violation
from headrace.guards.roles import environment_of

if TYPE_CHECKING:
    from headrace.schema.validate import Validator

MAX_CPU_S = 1.5
MAX_WAIT_S = 20.0
"""Timeout on a busy machine; the limit of CPU time usually comes first."""
MAX_BYTES = 110 << 20
"""Memory limit of the child, beyond what it needs to start."""
HEAD = struct.Struct(">I?")
"""Header of a message: the number of bytes that follow, and a flag if another message comes."""
TOO_MUCH = "it does not fit, and it takes too much time or memory to say where"


class ValidationRequest(msgspec.Struct, array_like=True):
    """The request to validate `value` (JSON) against `schema` (JSON)."""

    schema: bytes
    literal: bool
    value: bytes


Violations = list[tuple[str, str, str]]
questions, answers = msgspec.msgpack.Decoder(ValidationRequest), msgspec.msgpack.Decoder(Violations)


class ValidationProcess:
    """The child of this process. Concurrent threads wait for each other."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._parent = 0

    def check(self, schema: bytes, value: Any, *, literal: bool) -> None:
        """Raise `InvalidOutput` for an invalid value, and for one that cannot be validated within the limits."""
        try:
            asked = msgspec.msgpack.encode(ValidationRequest(schema, literal, msgspec.json.encode(value)))
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise InvalidOutput([Violation("", "type", str(error)[:200])]) from None
        with self._lock:
            said = self._ask(asked)
        if said is None:
            message = f"it takes more than {MAX_CPU_S:g} s or {MAX_BYTES >> 20} MB to check whether it fits"
            raise InvalidOutput([Violation("", "work", message)])
        if said:
            raise InvalidOutput([Violation(*each) for each in said])

    def _ask(self, asked: bytes) -> Violations | None:
        """Return the child's last answer; None when it ended without one."""
        for _ in range(2):  # a child that ended between two questions is no answer
            child = self._running()
            assert child.stdin is not None
            assert child.stdout is not None
            try:
                child.stdin.write(HEAD.pack(len(asked), False) + asked)
                child.stdin.flush()
            except OSError:
                self._end()
                continue
            said, more, deadline = None, True, time.monotonic() + MAX_WAIT_S
            while more:
                head = read_exactly(child.stdout.fileno(), HEAD.size, deadline)
                size, more = HEAD.unpack(head) if head else (0, False)
                body = read_exactly(child.stdout.fileno(), size, deadline) if head else None
                if body is None:
                    self._end()
                    break
                said = answers.decode(body)
            return said
        return None

    def _running(self) -> subprocess.Popen[bytes]:
        if self._child is not None and (self._parent != os.getpid() or self._child.poll() is not None):
            self._end()
        if self._child is None:
            self._parent = os.getpid()
            self._child = subprocess.Popen(
                [sys.executable, "-c", "from headrace.schema.validation_process import serve; serve()"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # it ends in the middle of things, and says so at length
                start_new_session=True,  # a Ctrl-C is the parent's to handle
                # At the limit of its memory Rust would write where it was, for which it needs memory, and waits for itself.
                env=environment_of("validation", os.environ) | {"RUST_BACKTRACE": "0"},
            )
        return self._child

    def _end(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        if self._parent == os.getpid():
            child.kill()
            child.wait()
        for pipe in (child.stdin, child.stdout):
            with contextlib.suppress(OSError):
                if pipe is not None:
                    pipe.close()


def read_exactly(descriptor: int, size: int, deadline: float) -> bytes | None:
    """Return so many bytes; None at the end of the stream, or at the deadline."""
    came = b""
    while len(came) < size:
        left_s = deadline - time.monotonic()
        if left_s <= 0 or not select.select([descriptor], [], [], left_s)[0]:
            return None
        more = os.read(descriptor, size - len(came))
        if not more:
            return None
        came += more
    return came


def serve() -> None:
    """Run the child: answer requests until there are no more. An invalid value gets several answers, each more detailed."""
    import resource

    from headrace.schema.validate import compiled

    asked = sys.stdin.buffer
    with contextlib.suppress(OSError):  # where there is no /proc, only the time is limited
        limit = data_segment_bytes() + MAX_BYTES
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    while head := asked.read(HEAD.size):
        question = questions.decode(asked.read(HEAD.unpack(head)[0]))
        signal.setitimer(signal.ITIMER_PROF, MAX_CPU_S)  # its signal ends the process, whatever holds the interpreter
        value = msgspec.json.decode(question.value)
        validator = compiled(question.schema, literal=question.literal)
        if not validator.fits(value):
            say([("", "schema", TOO_MUCH)], more=True)
            say(violations_of(validator, value, first=True), more=True)
        say(violations_of(validator, value, first=False), more=False)
        signal.setitimer(signal.ITIMER_PROF, 0)


def violations_of(validator: Validator, value: Any, *, first: bool) -> Violations:
    try:
        validator.check(value, first=first)
    except InvalidOutput as error:
        return [(each.pointer, each.keyword, each.message) for each in error.errors]
    return []


def say(misfits: Violations, *, more: bool) -> None:
    body = msgspec.msgpack.encode(misfits)
    sys.stdout.buffer.write(HEAD.pack(len(body), more) + body)
    sys.stdout.buffer.flush()


def data_segment_bytes() -> int:
    """Return the bytes of this process's data segment."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData:"))


VALIDATION_PROCESS = ValidationProcess()
