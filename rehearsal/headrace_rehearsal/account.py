"""The provider's own account of the calls it got: JSON lines, appended as they happen, readable while it runs.

Each call writes, in this order, lines that share `run` (the server process) and `n` (the number of the call in it):

    {"event":"received","run","n","request_id","at","bytes","key"}   the request is read
    {"event":"first_byte","run","n","request_id","at"}               the first byte of the answer is handed over
    {"event":"finished","run","n","request_id","at","status","bytes","tokens"}   the whole answer is with the socket

or, in place of `finished`, `{"event":"gone",…,"at"}` when the client left first, or `{"event":"cut",…,"at","status"}`
when the provider itself broke the answer off, as the faults `cut` and `stream_error` order. A call without a closing
line was in flight when the process died or was stopped. `request_id` is the header `X-Client-Request-Id` or null, `at`
are seconds since 1970, `bytes` the length of the request or of the answer, `tokens` those of the answer, `key` the
first 16 digits of the SHA-256 of the request's body. The closing line of a call that was understood has in `used` what would be
charged for: `model`, `tier`, `input_tokens`, of which `cached_tokens` were cached, `answer_tokens` of the whole answer, also when
it did not get that far, and `charge`, the provider's own price in USD, where it tells one (`charges.py`).

`python -m headrace_rehearsal.account PATH` prints a summary.
"""

from __future__ import annotations

import os
import secrets
import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import msgspec

USAGE = "usage: python -m headrace_rehearsal.account PATH\n"


class UsedTokens(msgspec.Struct, omit_defaults=True):
    """The tokens that a provider charges for, and how."""

    model: str = ""
    tier: str = ""
    input_tokens: int = 0
    cached_tokens: int = 0
    answer_tokens: int = 0
    charge: float | None = None


class Line(msgspec.Struct, omit_defaults=True):
    """One line as it stands in the file. Fields that an event does not have stay unset."""

    event: str
    run: str
    n: int
    at: float
    request_id: str | msgspec.UnsetType | None = msgspec.UNSET
    bytes: int | msgspec.UnsetType = msgspec.UNSET
    key: str | msgspec.UnsetType = msgspec.UNSET
    status: int | msgspec.UnsetType = msgspec.UNSET
    tokens: int | msgspec.UnsetType = msgspec.UNSET
    used: UsedTokens | msgspec.UnsetType = msgspec.UNSET


class AccountedCall(msgspec.Struct):
    """One call as the account knows it. Times are seconds since 1970, None for what has not happened."""

    run: str
    n: int
    request_id: str | None
    received_at: float
    request_bytes: int = 0
    key: str = ""
    first_byte_at: float | None = None
    finished_at: float | None = None
    gone_at: float | None = None
    cut_at: float | None = None
    status: int | None = None  # of the whole answer, or of one cut off; None while there is none
    answer_bytes: int = 0
    tokens: int = 0
    used: UsedTokens | None = None

    @property
    def ended_at(self) -> float | None:
        """The time when the answer was complete, the client left, or the provider broke off."""
        return next((at for at in (self.finished_at, self.gone_at, self.cut_at) if at is not None), None)

    @property
    def job_and_call(self) -> tuple[str, int] | None:
        """`("job.7", 2)` for the request id `job.7.<epoch>.2`; None for an id of another form."""
        parts = (self.request_id or "").rsplit(".", 2)
        return (parts[0], int(parts[2])) if len(parts) == 3 and parts[0] and parts[2].isdecimal() else None


class Account:
    """Appends lines to `path`, each batch with one write, at once.

    Raises `OSError` when `path` cannot be opened. Later errors, such as a full disk, lose lines and are told once on
    stderr: the provider goes on answering.
    """

    def __init__(self, path: Path):
        self.run = secrets.token_hex(4)
        self.lost = 0
        self._encode = msgspec.json.Encoder().encode
        self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        size = os.fstat(self._file).st_size
        # A killed process may have left half a line: what follows must not be joined to it.
        self._torn = size > 0 and os.pread(self._file, 1, size - 1) != b"\n"

    def received(self, n: int, request_id: str | None, *, size: int, key: str) -> None:
        self._write(Line("received", self.run, n, time.time(), request_id, bytes=size, key=key))

    def first_byte(self, n: int, request_id: str | None) -> None:
        self._write(Line("first_byte", self.run, n, time.time(), request_id))

    def finished(
        self,
        n: int,
        request_id: str | None,
        *,
        status: int,
        size: int,
        tokens: int,
        first_byte_at: float | None = None,
        used: UsedTokens | None = None,
    ) -> None:
        """Write the end of a complete answer; `first_byte_at` adds the line for the first byte to the same write."""
        line = Line("finished", self.run, n, time.time(), request_id, bytes=size, status=status, tokens=tokens)
        lines = [with_used(line, used)]
        if first_byte_at is not None:
            lines.insert(0, Line("first_byte", self.run, n, first_byte_at, request_id))
        self._write(*lines)

    def gone(self, n: int, request_id: str | None, used: UsedTokens | None = None) -> None:
        self._write(with_used(Line("gone", self.run, n, time.time(), request_id), used))

    def cut(self, n: int, request_id: str | None, *, status: int, used: UsedTokens | None = None) -> None:
        self._write(with_used(Line("cut", self.run, n, time.time(), request_id, status=status), used))

    def close(self) -> None:
        os.close(self._file)

    def _write(self, *lines: Line) -> None:
        data = b"".join(self._encode(line) + b"\n" for line in lines)
        try:
            written = os.write(self._file, b"\n" + data if self._torn else data)
        except OSError as error:
            self._lose(len(lines), str(error))
            return
        expected = len(data) + self._torn
        self._torn = written < expected
        if self._torn:
            self._lose(1, "only part of a line was written")

    def _lose(self, lines: int, reason: str) -> None:
        if not self.lost:
            sys.stderr.write(f"headrace-rehearsal: the account is incomplete from here on: {reason}\n")
        self.lost += lines


def read(path: Path | str) -> list[AccountedCall]:
    """Return the calls in the account at `path`, in order of arrival.

    A torn line (the last one of a running or killed process, or one that met a full disk) is skipped, and so is a call
    whose `received` line is missing. Raises `OSError`.
    """
    decoder = msgspec.json.Decoder(Line)
    calls: dict[tuple[str, int], AccountedCall] = {}
    for text in Path(path).read_bytes().split(b"\n"):
        try:
            line = decoder.decode(text)
        except msgspec.DecodeError:
            continue
        if line.event == "received":
            calls[line.run, line.n] = call = AccountedCall(line.run, line.n, line.request_id or None, line.at)
            call.request_bytes, call.key = line.bytes or 0, line.key or ""
        elif call := calls.get((line.run, line.n)):
            if line.event in ("first_byte", "finished", "gone", "cut"):
                setattr(call, f"{line.event}_at", line.at)
            call.status = line.status or call.status
            call.tokens = line.tokens or call.tokens
            call.answer_bytes = line.bytes or call.answer_bytes
            call.used = line.used or call.used
    return list(calls.values())


def with_used(line: Line, used: UsedTokens | None) -> Line:
    if used is not None:
        line.used = used
    return line


def paid(call: AccountedCall) -> bool:
    """Return True if a provider would charge for `call`: it was received, and not answered with an error status.

    One that was never answered counts: the client left, or the connection broke, but the tokens were made.
    """
    return call.status is None or call.status < 400


def paid_twice(calls: Iterable[AccountedCall]) -> int:
    """Return how many paid calls repeat one paid before: the sum of paid - 1 over each `(id, call number)`.

    Both come from the request id `<id>.<epoch>.<call>`. The same id and call number in another epoch is a repeated
    payment, and so is the same request sent twice; a grown call number is a deliberate re-ask. Calls whose request id
    has another form are left out.
    """
    counts = Counter(call.job_and_call for call in calls if paid(call) and call.job_and_call is not None)
    return sum(count - 1 for count in counts.values())


def in_flight_at(calls: Iterable[AccountedCall], kill_time: float) -> list[AccountedCall]:
    """Return the calls received at or before `kill_time` (seconds since 1970) that had not ended before it."""
    return [
        call
        for call in calls
        if call.received_at <= kill_time and (call.ended_at is None or call.ended_at >= kill_time)
    ]


def summary(calls: list[AccountedCall]) -> dict[str, object]:
    """Return the account in numbers; `open` are calls without an end."""
    return {
        "calls": len(calls),
        "paid": sum(map(paid, calls)),
        "paid_twice": paid_twice(calls),
        "jobs": len({call.job_and_call[0] for call in calls if call.job_and_call}),
        "answered": sum(call.finished_at is not None and paid(call) for call in calls),
        "gone": sum(call.gone_at is not None for call in calls),
        "cut": sum(call.cut_at is not None for call in calls),
        "open": sum(call.ended_at is None for call in calls),
        "statuses": dict(sorted(Counter(str(call.status) for call in calls if call.status is not None).items())),
        "tokens": sum(call.tokens for call in calls),
    }


def main(arguments: list[str] | None = None) -> int:
    """Print the summary of one account. 0, or 2 for wrong arguments or a file that cannot be read."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if len(arguments) != 1 or arguments[0].startswith("-"):
        sys.stderr.write(USAGE)
        return 2
    try:
        calls = read(arguments[0])
    except OSError as error:
        sys.stderr.write(f"{error}\n{USAGE}")
        return 2
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(summary(calls))).decode() + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
