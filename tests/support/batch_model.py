"""A batch as a plain model has it, and how the ledger is held against it."""

from __future__ import annotations

from typing import Any

from hypothesis.stateful import initialize, invariant
from ledger_machine import LONG, LedgerMachine

from headrace import errors
from headrace.jobs.job import new_id
from headrace.ledger.open import open_batch
from headrace.ledger.shard_range import ShardRange
from headrace.ledger.state import BATCH_MOVES, BatchState

SHARDS, ITEMS = 3, 2
RANGES = [ShardRange(number * ITEMS, ITEMS, 0, 1) for number in range(SHARDS)]
OPEN = {BatchState.IN_PROGRESS, BatchState.PAUSED, BatchState.CANCELLING}
KINDS = {"s": "succeeded", "f": "failed", "d": "dead"}


class RecordModel:
    """A shard or the join, as the ledger should have it."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.state = "queued"
        self.queue = "bulk"
        self.token = ""
        self.epoch = 0
        self.expired = False
        self.crashes = 0
        self.losses = 0
        self.evidence = 0
        self.beaten = False  # since it was claimed
        self.progress = False
        self.item = ""


class BatchModel(LedgerMachine):
    """One batch in a ledger, opened, and all that the ledger should say of it."""

    def __init__(self) -> None:
        super().__init__()
        self.batch = new_id("batch")
        self.state, self.outcome = BatchState.IN_PROGRESS, ""
        self.fed = self.sent = self.running = self.paid = self.prefilled = self.unfinished = 0
        self.over = False  # the completion window
        self.output = ""
        self.records: dict[str, RecordModel] = {}
        self.epochs: dict[str, list[int]] = {}
        self.rows: dict[tuple[str, int], bytes] = {}
        self.parts: dict[str, str] = {}
        self.refused: set[int] = set()  # lines

    @initialize()
    def opened(self) -> None:
        record = {"total": SHARDS * ITEMS, "shards": SHARDS}
        for _ in range(2):
            self.do(
                open_batch(
                    self.ledger,
                    self.batch,
                    template_sha="sha",
                    template=b"{}",
                    window_ms=LONG,
                    tenant="default",
                    record=record,
                )
            )

    def id(self, name: str) -> str:
        return f"{self.batch}.{name}"

    def epoch(self, name: str, back: int) -> int:
        """The current epoch, or an older one."""
        known = self.epochs.get(name, [])
        return known[max(len(known) - 1 - back, 0)] if known else 0

    def refusal(self, name: str, epoch: int) -> type[errors.Refused] | None:
        if name not in self.records:
            return errors.Unknown
        return errors.Fenced if epoch != self.records[name].epoch or epoch == 0 else None

    def goes(self, move: str, to: BatchState | None = None) -> None:
        """The transition is one that `state.py` lists."""
        targets = BATCH_MOVES.get(self.state, {}).get(move, frozenset())
        assert (to or self.state) in targets, f"{self.state} -{move}-> {to or self.state} is not in the table"
        self.state = to or self.state

    def stops(self, model: RecordModel) -> None:
        if model.state == "running" and model.kind == "shard":
            self.running -= 1

    def in_flight(self, name: str, model: Any) -> int:
        if model.beaten or model.kind == "join":
            return 1
        return sum((name, index) not in self.rows for index in range(ITEMS))

    def judged(self, model: Any, calls: int, together: int) -> None:
        if model.kind == "join":
            return
        if model.queue == "quarantine":
            model.crashes += 1
        elif calls:
            model.losses += 1
            model.crashes += not model.progress
            model.evidence += 0 if model.progress else 1_000_000 // together
            # What made way is judged by how often it was lost alone.
            suspect = not model.progress and (model.crashes >= 3 or model.evidence >= 500_000)
            if suspect or model.losses >= 3:
                model.queue, model.crashes, model.evidence, model.losses = "quarantine", 0, 0, 0

    @invariant()
    def the_same(self) -> None:
        keys, batch = self.ledger.keys, self.ledger.keys.batch(self.batch)
        read = self.ledger.client.pipeline(transaction=False)
        read.hgetall(batch).hgetall(f"{batch}:parts").get(keys.held)
        read.zrange(keys.due, 0, -1).zrange(keys.leases, 0, -1).zrange(keys.open, 0, -1).xrange(f"{batch}:log")
        names = [*(f"s{number}" for number in range(SHARDS)), "join"]
        for name in names:
            read.hgetall(keys.shard(self.id(name))).hgetall(f"{keys.shard(self.id(name))}:res")
        record, parts, held, waiting, leased, listed, log, *found = self.do(read.execute())
        if not record:
            return  # before it is opened
        self._counters(record)
        assert {f"s{n.decode()}": part.decode() for n, part in parts.items()} == self.parts
        stored = dict(zip(names, zip(found[::2], found[1::2], strict=True), strict=True))
        assert {name for name, (fields, _) in stored.items() if fields} == set(self.records)
        for name, (fields, rows) in stored.items():
            kept = {n: row for (of, n), row in self.rows.items() if of == name and name in self.records}
            assert {int(n): row for n, row in rows.items()} == kept
            if name in self.records:
                model = self.records[name]
                assert [fields[b"state"].decode(), fields[b"queue"].decode()] == [model.state, model.queue]
                assert [int(fields[b"epoch"]), int(fields[b"crashes"])] == [model.epoch, model.crashes]
        assert int(held or 0) == sum(len(row) for (name, _), row in self.rows.items() if name in self.records)
        # Whatever is alive is found again by somebody, and nothing else is.
        assert {raw.decode() for raw in leased} == {self.id(n) for n, m in self.records.items() if m.state == "running"}
        assert {raw.decode() for raw in waiting} == {
            self.id(n) for n, m in self.records.items() if m.state != "running"
        }
        assert bool(listed) == (self.state in OPEN)
        assert [number.decode().split("-")[1] for number, _ in log] == [str(n + 1) for n in range(len(log))]

    def _counters(self, record: dict[bytes, bytes]) -> None:
        counted = dict.fromkeys([*KINDS.values(), "cancelled"], 0)
        for row in self.rows.values():
            counted[KINDS[chr(row[0]).lower()]] += 1
        counted["cancelled"] += self.unfinished
        counted["succeeded"] -= len(self.refused)
        counted["failed"] += len(self.refused)
        assert int(record.get(b"refused") or 0) == int(record.get(b"code:invalid_output") or 0) == len(self.refused)
        assert {name: int(record[name.encode()]) for name in counted} == counted
        assert record[b"state"].decode() == self.state
        assert record.get(b"outcome", b"").decode() == self.outcome
        names = (b"fed", b"done", b"running", b"output_tokens", b"prefilled")
        expected = [self.fed, len(self.parts), self.running, self.paid, self.prefilled]
        assert [int(record.get(name) or 0) for name in names] == expected
