"""A machine that moves a batch in the ledger as clumsy workers would: see `tests/unit/ledger/test_model.py`."""

from __future__ import annotations

from batch_model import ITEMS, OPEN, RANGES, SHARDS, BatchModel, RecordModel
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule
from ledger_machine import EXPIRED, LONG

from headrace import errors
from headrace.ledger.beat import beat
from headrace.ledger.cancel import cancel
from headrace.ledger.checkpoint import CheckpointRow, checkpoint
from headrace.ledger.claim import claim
from headrace.ledger.close import close
from headrace.ledger.due import due
from headrace.ledger.feed import feed
from headrace.ledger.finish_shard import finish_shard
from headrace.ledger.park import park
from headrace.ledger.pause import pause
from headrace.ledger.prefill import prefill
from headrace.ledger.recover import recover
from headrace.ledger.refuse_rows import refuse_rows
from headrace.ledger.release import release
from headrace.ledger.resume import resume
from headrace.ledger.seal import seal
from headrace.ledger.state import BATCH_TERMINAL, BatchState
from headrace.ledger.submit import GRACE_MS

numbers = st.integers(0, SHARDS - 1)
parts_of_the_batch = st.sampled_from([*(f"s{number}" for number in range(SHARDS)), "join"])
backs = st.integers(0, 1)
leases = st.sampled_from([EXPIRED, LONG])


class BatchMoves(BatchModel):
    """Two workers that repeat themselves, come late, and write under old epochs."""

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
                self.records[f"s{self.fed}"] = RecordModel("shard")
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
            self.records["join"] = RecordModel("join")

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
