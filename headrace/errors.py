"""The exceptions, as one tree.

    HeadraceError
    ├── SettingsError        a variable that cannot be read                        (exit 2)
    │   └── UntrustedFile        a file or folder that another user owns or may write
    ├── InputError           the caller's input: file, line, JSON Pointer          (exit 2)
    │   ├── UnknownField     a field that the API does not have
    │   ├── ModelNotFound    a model that no alias and no worker knows
    │   └── SchemaError      a schema, or a type as one, that cannot be carried
    │       └── InvalidSchemaError  it is no JSON Schema at all
    ├── InvalidOutput        a value that does not fit its schema: every failing place
    ├── Unreachable          the service is not there                              (exit 3)
    ├── EmbeddedServerError  the embedded server cannot start                      (exit 3)
    ├── StorageError         the file store: another store, or no room
    ├── WaitTimeout          what was waited for goes on; only the wait ended       (also a TimeoutError)
    ├── Gone                 events that a viewer has not seen are no longer in the log
    ├── Restarted            the answer began anew and is another one than was given
    ├── JobFailed            the job or item ended without an answer; its `code` is one row of `CODES`
    ├── Refused              a move of the ledger was refused, by name
    │   ├── Busy · Finished · Cancelled · Dead · Paused
    │   ├── Unknown          no such record · Expired: there was one, its result is past its lifetime
    │   ├── Fenced           a newer epoch exists: this writer is a zombie
    │   │   └── Requeued     its lease ran out, nobody has claimed it since: begin no call
    │   ├── Closed · Gap     the log or the batch has ended · something before this one is missing
    │   ├── Damaged          the record in Redis cannot be worked with: it is set aside
    │   ├── Shown            a part of the attempt was shown, and cannot be taken back
    │   ├── Spill            too large for the ledger: rows go into a file and are named there
    │   └── Conflict         the same idempotency key with another body
    └── CallError            a call to a provider failed; its `code` is one row of `CODES`

Every message says what was wrong, where, and what to do.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from headrace.text.readable import UNWRITABLE, checked_encode


class HeadraceError(Exception):
    """The root of the tree. `exit_code` is what the command line ends with."""

    exit_code = 1


class SettingsError(HeadraceError):
    """A variable, or a client's `url`, is invalid; the message names it."""

    exit_code = 2


class UntrustedFile(SettingsError):
    """A file or folder must be trusted, but another user owns it or may write it."""


class InputError(HeadraceError, ValueError):
    """The caller's input is invalid; nothing was enqueued."""

    exit_code = 2


class UnknownField(InputError):
    """The request has a field that the API does not have."""


SHOWN = 200
"""Characters of a JSON Pointer in a message."""


class SchemaError(InputError, TypeError):
    """The schema, or the schema of a type, cannot be used with the provider.

    `pointer` is the JSON Pointer of the place (`""` for the root), `keyword` the keyword there, `remedy` what to do.
    """

    def __init__(self, message: str, *, pointer: str = "", keyword: str = "", remedy: str = ""):
        super().__init__(f"{message}; {remedy}" if remedy else message)
        self.pointer = pointer
        self.keyword = keyword
        self.remedy = remedy

    @property
    def complaint(self) -> str:
        """What is wrong, without the place and the remedy."""
        what = str(self.args[0]).removesuffix(f"; {self.remedy}")
        places = (f"schema at {self.pointer[:chars] or '/'}: " for chars in (None, SHOWN))
        return next((what.removeprefix(place) for place in places if what.startswith(place)), what)


class InvalidSchemaError(SchemaError):
    """The value is no JSON Schema at all."""


class ModelNotFound(InputError):
    """No alias has this name, or no worker can call its provider."""


class Violation(msgspec.Struct, frozen=True):
    """One place where a value does not fit its schema: a JSON Pointer, the keyword, what was expected and what came."""

    pointer: str
    keyword: str
    message: str

    def __str__(self) -> str:
        return f"{self.pointer or '/'}: {self.message}"


class InvalidOutput(HeadraceError, ValueError):
    """A value, or an answer on the wire, does not match its schema. `errors` lists every failing place."""

    def __init__(self, errors: list[Violation]):
        super().__init__("; ".join(str(error) for error in errors[:5]) + (" …" if len(errors) > 5 else ""))
        self.errors = errors


class Unreachable(HeadraceError):
    """No server answers at the service's address."""

    exit_code = 3


class EmbeddedServerError(HeadraceError):
    """The embedded server cannot start, or its data folder is in use."""

    exit_code = 3


class StorageError(HeadraceError):
    """The file store is another one than the ledger names, or it has no space left."""


class WaitTimeout(HeadraceError, TimeoutError):
    """The wait timed out; the job or batch goes on, and can be waited for again."""


class Gone(HeadraceError):
    """Events after a viewer's cursor were trimmed, or the whole log is past its lifetime: the stream cannot go on without a
    gap.

    `first` is the id of the first event that is still there (an `EventId`), None when there is none. View the log from the
    start, or fetch the result.
    """

    def __init__(self, record: str, first: tuple[int, int] | None):
        there = f"the first one left is {first}" if first is not None else "none is left"
        super().__init__(f"{record}: events after the cursor are no longer there ({there}). Fetch its result instead.")
        self.record = record
        self.first = first


class Restarted(HeadraceError):
    """A new attempt's text differs from the text that was yielded already, which cannot be retracted.

    Iterate the events of the stream instead: `attempt.start` marks where to clear what is shown.
    """

    def __init__(self, subject: str):
        super().__init__(
            f"{subject}: the answer began anew, and is another one. Read it again: job.stream() from the start."
        )
        self.subject = subject


class Refused(HeadraceError):
    """The ledger refused a move. The subclass is the reason; `epoch` is the record's own, where it matters."""

    def __init__(self, record: str, detail: str = ""):
        super().__init__(f"{record}: {type(self).__name__.lower()}{f' ({detail})' if detail else ''}")
        self.record = record
        self.detail = detail


class Busy(Refused):
    """Another attempt holds the lease."""


class Finished(Refused):
    """The record is terminal already."""


class Cancelled(Refused):
    """The record, or its batch, was cancelled."""


class Dead(Refused):
    """The record died in quarantine."""


class Paused(Refused):
    """The record's batch is paused."""


class Unknown(Refused):
    """There is no such record: never submitted, or past its retention."""


class Expired(Unknown):
    """The record ended, and its result is past its lifetime. Submit with a longer `ttl_s`, or fetch it earlier."""


class Fenced(Refused):
    """A newer epoch (fencing token) exists: this attempt must stop without writing."""


class Requeued(Fenced):
    """The lease expired and the record waits for another worker: no call may begin, those in flight may end."""


class Closed(Refused):
    """The event log has its `end`: nothing may be appended."""


class Gap(Refused):
    """Events before the first one sent are missing from the log; `detail` is the sequence number expected."""


class Damaged(Refused):
    """The record in Redis is corrupt: another type, a field missing or no number."""


class Spill(Refused):
    """The rows are too large for the ledger: write them to a segment file and store their offsets."""


class Shown(Refused):
    """A part of this attempt was shown to somebody who cannot take it back: no other attempt may follow."""


class Conflict(Refused):
    """The idempotency key was used with another body. `record` is the id of the refused job, `detail` that of the job with
    the key."""

    def __init__(self, record: str, detail: str = ""):
        super().__init__(record, detail)
        self.args = (
            f"the idempotency key belongs to {detail}, which asks for something else; choose another key ({record} was not made)",
        )


class Code(NamedTuple):
    """One row of the table of failures: the HTTP status that the gateway answers with, and whether a new call may help."""

    http: int
    retryable: bool
    remedy: str


CODES: dict[str, Code] = {
    "invalid_request": Code(400, False, "correct the request; the provider's message names the field"),
    "auth": Code(401, False, "check the provider's key"),
    "payment": Code(402, False, "the provider's account has no credit"),
    "not_found": Code(404, False, "check the model's name"),
    "rate_limited": Code(429, True, "wait, or raise the provider's limits"),
    "provider_unavailable": Code(503, True, "try again later"),
    "timeout": Code(504, True, "raise the deadline, or ask for less"),
    "connection": Code(502, True, "check the provider's address and the network"),
    "provider_error": Code(502, True, "the provider failed while answering; try again"),
    "refusal": Code(422, False, "the model declined to answer"),
    "truncated": Code(422, False, "raise max_tokens: the answer was cut"),
    "content_filter": Code(422, False, "the provider's filter stopped the answer"),
    "empty_output": Code(502, True, "the provider sent no answer"),
    "invalid_output": Code(422, False, "the answer does not fit the schema; the paid answer is kept"),
    "incomplete_stream": Code(502, True, "the stream ended before the answer did"),
    "cancelled": Code(409, False, "it was cancelled"),
    "no_deployment": Code(503, False, "no deployment may take the call now"),
    "damaged": Code(500, False, "its record in Redis was changed by somebody else; submit it again"),
    "worker_lost": Code(500, False, "the worker died on it twice, alone; look at what is special about this input"),
    "batch_cancelled": Code(409, False, "its batch was cancelled before it ran"),
    "batch_expired": Code(409, False, "its batch expired before it ran"),
    "expired": Code(504, False, "give it more time (`timeout_s`), or ask when the provider has room"),
    "budget": Code(402, False, "the budget is spent"),
    "storage": Code(507, True, "make room, or check the file store"),
}


class CallError(HeadraceError):
    """A call to a provider failed, or its answer cannot be used.

    `code` is a row of `CODES`; `status` the provider's HTTP status, if there was one; `retry_after_s` what the provider
    asked for, in seconds; `partial` the text that had come and was paid. `details` may hold `errors` (places that do not
    fit a schema), `counters` (what was paid), `metadata` (as in a response) and `tool_calls` that had come.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        status: int | None = None,
        retry_after_s: float | None = None,
        partial: str | None = None,
        details: dict[str, Any] | None = None,
        retryable: bool | None = None,
    ):
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.retry_after_s = retry_after_s
        self.partial = partial
        self.details = details or {}
        self._retryable = retryable

    @property
    def retryable(self) -> bool:
        """Return True if a new call may help: as the provider says, else as the table says of its code."""
        return CODES[self.code].retryable if self._retryable is None else self._retryable


class Failure(msgspec.Struct, frozen=True, omit_defaults=True):
    """The failure of a job or an item: a `code` of `CODES`, and what was paid for, if anything: the text (`partial`), and what is
    known of the answer (`metadata`: id, model, usage, finish reason)."""

    code: str
    message: str
    status: int | None = None
    partial: str | None = None
    errors: list[str] = []
    metadata: dict[str, Any] = {}

    @classmethod
    def of(cls, error: CallError) -> Failure:
        """Return the part of a call's error that a job or an item keeps: without provider text that cannot be decoded again."""
        failure = cls(
            error.code,
            error.message,
            error.status,
            error.partial,
            error.details.get("errors", []),
            error.details.get("metadata", {}),
        )
        try:
            checked_encode(failure, cls)
        except UNWRITABLE:
            message = error.message.encode(errors="replace").decode()
            return cls(error.code, message, error.status)
        return failure


MAX_PLACES = 10


class JobFailed(HeadraceError):
    """A job, or an item of a batch, ended without an answer.

    `code` is a row of `CODES`, which also says what to do; `partial` is the text that was paid for, if there was any;
    `errors` are the places where an answer does not fit the schema.
    """

    def __init__(self, subject: str, failure: Failure):
        self.subject = subject
        self.failure = failure
        self.code = failure.code
        self.partial = failure.partial
        self.errors = failure.errors
        remedy = CODES[failure.code].remedy if failure.code in CODES else ""
        places = "".join(f"\n  {error}" for error in failure.errors[:MAX_PLACES])
        super().__init__(
            f"{subject}: {failure.code}: {failure.message}{places}" + (f" (to do: {remedy})" if remedy else "")
        )
