"""The record of a batch, its template and the parts of its shards, for the processes that work with it. The summaries that
users see are in `summaries`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import msgspec

from headrace.errors import Unknown
from headrace.ledger.damage import readable
from headrace.ledger.script import Ledger
from headrace.ledger.shard_range import part_file

CODE = "code:"
"""Prefix of the fields that count failures by their code."""
OUTCOMES = ("succeeded", "failed", "cancelled", "dead")
FEEDING = ("state", "fed", "done", "shards", "reason", "queue", "index", "quarantined", "running", "weight")

CARRIED = ("endpoint", "input_file", "window", "metadata", "output_expires_s")

FieldName = Literal["state", "shards", "index", "input", "output", "errors"]
TimeName = Literal["created", "in_progress_at", "finalizing_at", "cancelling_at", "ended", "expires"]


class BatchCounters(msgspec.Struct, frozen=True):
    """The number of a batch's items, of those that ended in each way, and of failures of one code in a row (`streak`)."""

    total: int
    succeeded: int
    failed: int
    cancelled: int
    dead: int
    streak: int = 0

    @property
    def done(self) -> int:
        return self.succeeded + self.failed + self.cancelled + self.dead

    @property
    def pending(self) -> int:
        """Items that have not ended."""
        return self.total - self.done


class ShardPart(NamedTuple):
    """The place of a shard's rows: in `file` when its part is committed, None before; and the state of its batch, None
    when that is gone."""

    file: str | None
    batch_state: str | None


@dataclass(frozen=True)
class BatchRecord:
    """A batch's record, or some of its `fields`. A field is decoded on access: a damaged one affects only its readers.
    Raises `KeyError` for one that is missing and has no default, `ValueError` for one that cannot be decoded."""

    id: str
    fields: Mapping[str, bytes]

    @property
    def state(self) -> str:
        return self._text("state")

    @property
    def is_paused(self) -> bool:
        return self.fields.get("state") == b"paused"

    @property
    def outcome(self) -> str:
        """The state that it will have after its join."""
        return self._text("outcome")

    @property
    def reason(self) -> str:
        """The reason of its pause, or of its cancellation."""
        return self._text("reason", b"")

    @property
    def waiting(self) -> str:
        """The reason why its calls do not go out just now."""
        return self._text("waiting", b"")

    @property
    def created_ms(self) -> int:
        return int(self.fields["created"])

    @property
    def ended_ms(self) -> int | None:
        return int(self.fields["ended"]) if "ended" in self.fields else None

    @property
    def model(self) -> str:
        return self._text("model", b"")

    @property
    def structured(self) -> bool:
        """Return True if its answers fit a schema."""
        return self.fields.get("structured") == b"1"

    @property
    def work(self) -> str:
        """The digest of its input and of what is asked of it; empty where nobody named it."""
        return self._text("work", b"")

    @property
    def template(self) -> str:
        """The content hash of its template."""
        return self._text("template")

    @property
    def queue(self) -> str:
        """The queue of its shards; empty where the record does not say."""
        return self._text("queue", b"")

    @property
    def total(self) -> int:
        return int(self.fields["total"])

    @property
    def shards(self) -> int:
        return int(self.fields["shards"])

    @property
    def fed(self) -> int:
        """The number of its shards that have had a record."""
        return int(self.fields["fed"])

    @property
    def shards_under_way(self) -> int:
        """Shards that have a record and no part yet, those in quarantine too."""
        return self.fed - int(self.fields["done"])

    @property
    def running(self) -> int:
        """The number of its shards that a worker has, those in quarantine too."""
        return self.counter("running")

    @property
    def quarantined(self) -> int:
        """The number of its shards in quarantine."""
        return self.counter("quarantined")

    @property
    def input(self) -> str:
        """The file of its items."""
        return self._text("input")

    @property
    def index(self) -> str:
        """The file with the index of its shards."""
        return self._text("index")

    @property
    def output(self) -> str:
        return self._text("output")

    @property
    def errors(self) -> str:
        return self._text("errors")

    @property
    def tenant(self) -> str:
        return self._text("tenant", b"default")

    @property
    def trace(self) -> str:
        """The `traceparent` of whoever opened it; empty for none."""
        return self._text("trace", b"")

    @property
    def endpoint(self) -> str:
        """The endpoint that its lines are posted to, of a batch that was created over HTTP; empty for any other."""
        return self._text("endpoint", b"")

    @property
    def input_file(self) -> str:
        """The id of the file that it was created over."""
        return self._text("input_file", b"")

    @property
    def window(self) -> str:
        """Its completion window, as its creator wrote it."""
        return self._text("window", b"24h")

    @property
    def metadata(self) -> dict[str, str] | None:
        given = self.fields.get("metadata")
        return None if given is None else msgspec.json.decode(given, type=dict[str, str])

    @property
    def has_begun(self) -> bool:
        """Return False while its input is being checked, and of one that has ended with that."""
        return "index" in self.fields

    @property
    def upload(self) -> str:
        """The file whose lines are checked."""
        return self._text("upload")

    @property
    def aliases(self) -> str:
        """The file with the aliases of its creator; empty when there were none."""
        return self._text("aliases", b"")

    @property
    def skips_bad_rows(self) -> bool:
        """Return True if a line that cannot be used fails alone."""
        return self.fields.get("on_bad_row") == b"skip"

    @property
    def rejection(self) -> str:
        """The file that says what is wrong with its input; empty when nothing is."""
        return self._text("rejection", b"")

    @property
    def output_file(self) -> str:
        """The id of its output as a file of the tenant; empty when there is none."""
        return self._text("output_file", b"")

    @property
    def error_file(self) -> str:
        return self._text("error_file", b"")

    @property
    def carried(self) -> dict[str, bytes]:
        """The fields that a batch which retries it has as well."""
        return {name: self.fields[name] for name in CARRIED if name in self.fields}

    def time_ms(self, name: TimeName) -> int | None:
        """Return one of its times; None when that has not come."""
        return int(self.fields[name]) if name in self.fields else None

    @property
    def is_prefilled(self) -> bool:
        """Return True if it takes over rows of an earlier batch."""
        return bool(self.fields.get("prefill"))

    @property
    def refused(self) -> int:
        """The number of rows that the caller's type has refused."""
        return int(self.fields.get("refused", b"0"))

    @property
    def weight(self) -> int:
        """Its share beside other batches, at least 1."""
        return max(1, int(self.fields.get("weight", b"10")))

    @property
    def budget(self) -> int | None:
        """The most that it may cost, in nano-USD; None without a budget."""
        return int(self.fields["budget_nano_usd"]) if "budget_nano_usd" in self.fields else None

    @property
    def allows_unpriced(self) -> bool:
        """Return True if calls without a known price pass its budget."""
        return self.fields.get("unpriced_allowed") == b"1"

    @property
    def spent(self) -> int:
        """What counts against its budget, in nano-USD: costs, and the most that calls can have cost of which nobody heard."""
        return self.counter("cost_nano_usd") + self.counter("unaccounted_nano_usd")

    @property
    def retry_of(self) -> str:
        return self._text("retry_of", b"")

    @property
    def reask_of(self) -> str:
        return self._text("reask_of", b"")

    @property
    def reasked_as(self) -> str:
        """The batch that asks again for what was refused of this one; empty when there is none."""
        return self._text("reasked_as", b"")

    @property
    def codes(self) -> dict[str, int]:
        """The number of items that did not succeed, by the code of their failure, the most frequent first. What was
        never run is counted when the batch closes."""
        counts = {name.removeprefix(CODE): int(count) for name, count in self.fields.items() if name.startswith(CODE)}
        stopped = ("batch_cancelled", "batch_expired")
        never_run = self.counter("cancelled") - sum(counts.get(code, 0) for code in stopped)
        if never_run > 0:
            code = stopped[self.fields.get("outcome") == b"expired"]
            counts[code] = counts.get(code, 0) + never_run
        return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))

    def counter(self, name: str) -> int:
        """Return one of its counters; 0 when nothing was counted."""
        return int(self.fields.get(name) or 0)

    def usd(self, name: str) -> float:
        """Return a counter of nano-USD in US dollars."""
        return self.counter(name) / 1e9

    def _text(self, name: str, default: bytes | None = None) -> str:
        return (self.fields[name] if default is None else self.fields.get(name, default)).decode()


async def batch_record(ledger: Ledger, batch_id: str) -> BatchRecord:
    """Return the record of a batch as it stands there; without fields when there is none."""
    raw = await ledger.client.hgetall(ledger.keys.batch(batch_id))
    return BatchRecord(batch_id, {name.decode(): value for name, value in raw.items()})


async def batch_of_work(ledger: Ledger, tenant: str, work: str) -> str | None:
    """Return the id of the last batch that was opened over the same input, for the same; None when it is not there any more."""
    raw = await ledger.client.get(ledger.keys.work(tenant, work))
    if raw is None or not (raw.startswith(b"batch_") and raw.isascii()):
        return None
    batch_id = raw.decode()
    return batch_id if await ledger.client.exists(ledger.keys.batch(batch_id)) else None


async def known_batch(ledger: Ledger, batch_id: str) -> BatchRecord:
    """Return the record of a batch, every field of which is UTF-8. Raises `Unknown`, or `Damaged` for what is no such
    record."""
    with readable(batch_id):
        record = await batch_record(ledger, batch_id)
    if not record.fields:
        raise Unknown(batch_id, "no such batch, or past its retention; `headrace batches list` shows those there are")
    with readable(batch_id):
        _check_texts(record.fields)
    return record


async def feeding_record(ledger: Ledger, batch_id: str) -> BatchRecord | None:
    """Return the fields of a batch that feeding its shards reads (`FEEDING`); None when it is gone. Raises `ValueError` for
    a field that is not UTF-8."""
    values = await ledger.client.hmget(ledger.keys.batch(batch_id), FEEDING)
    fields = {name: value for name, value in zip(FEEDING, values, strict=True) if value is not None}
    _check_texts(fields)
    return BatchRecord(batch_id, fields) if fields.get("state") else None


async def batch_field(ledger: Ledger, batch_id: str, name: FieldName) -> str | None:
    """Return one field of a batch's record; None when it is missing."""
    value = await ledger.client.hget(ledger.keys.batch(batch_id), name)
    return None if value is None else value.decode()


async def batch_counters(ledger: Ledger, batch_id: str) -> BatchCounters:
    """Return the counters of a batch's items; all 0 when it is gone. Raises `ValueError` for what is no number."""
    values = await ledger.client.hmget(ledger.keys.batch(batch_id), ["total", *OUTCOMES, "streak"])
    return BatchCounters(*(int(value or 0) for value in values))


async def state_if_refused(ledger: Ledger, batch_id: str) -> str | None:
    """Return the state of a batch of whose rows the caller's type refused some; None when it refused none, or the batch
    is gone."""
    state, refused = await ledger.client.hmget(ledger.keys.batch(batch_id), ["state", "refused"])
    return state.decode() if int(refused or 0) and state is not None else None


async def follow_up(ledger: Ledger, batch_id: str) -> str | None:
    """Return the re-ask batch of this one, if both exist."""
    name = await ledger.client.hget(ledger.keys.batch(batch_id), "reasked_as")
    if not name or not await ledger.client.exists(ledger.keys.batch(name.decode())):
        return None
    return name.decode()


async def template_body(ledger: Ledger, sha: str) -> bytes | None:
    """Return the template with this content hash, encoded; None when it is past its retention."""
    return await ledger.client.get(ledger.keys.template(sha))


async def part_of_shard(ledger: Ledger, batch_id: str, number: int) -> ShardPart:
    """Return the committed part of a shard, and the state of its batch, in one round trip."""
    batch = ledger.keys.batch(batch_id)
    async with ledger.client.pipeline(transaction=False) as pipeline:
        pipeline.hget(ledger.keys.parts(batch), number)
        pipeline.hget(batch, "state")
        part, state = await pipeline.execute()
    file = None if part is None or state is None else part_file(batch_id, number, part.decode())
    return ShardPart(file, None if state is None else state.decode())


async def parts_of_shards(ledger: Ledger, batch_id: str) -> dict[int, str]:
    """Return the files of all parts that are committed, by the number of their shard."""
    stored = await ledger.client.hgetall(ledger.keys.parts(ledger.keys.batch(batch_id)))
    return {int(number): part_file(batch_id, int(number), part.decode()) for number, part in stored.items()}


def _check_texts(fields: Mapping[str, bytes]) -> None:
    """Raise `UnicodeDecodeError` for a field that is not UTF-8."""
    for value in fields.values():
        value.decode()
