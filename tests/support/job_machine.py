"""Jobs as a plain model has them, and a machine that moves them in the ledger: see `tests/unit/ledger/test_model.py`."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, initialize, invariant, precondition, rule
from ledger_machine import EXPIRED, LONG, LedgerMachine

from headrace import errors
from headrace.jobs.job import new_id
from headrace.ledger.append import append
from headrace.ledger.beat import beat
from headrace.ledger.cancel import cancel
from headrace.ledger.claim import claim
from headrace.ledger.compact import compact
from headrace.ledger.due import due
from headrace.ledger.expire import expire
from headrace.ledger.finish import finish
from headrace.ledger.park import park
from headrace.ledger.recover import recover, report_end
from headrace.ledger.release import release
from headrace.ledger.restart import restart
from headrace.ledger.restore import restore
from headrace.ledger.show import show
from headrace.ledger.state import JOB_MOVES, TERMINAL, JobState
from headrace.ledger.submit import submit

BACK = st.sampled_from([0, 0, 0, 1])
LEASE = st.sampled_from([LONG, LONG, EXPIRED])
RARELY = st.sampled_from([False, False, False, True])  # what ends a job, or nothing else would ever happen to it
RIGHT = st.sampled_from([True, True, False])
ENDS = [JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED]


class Model:
    """One job, as the ledger should have it."""

    def __init__(self) -> None:
        self.state = JobState.QUEUED
        self.queue = "interactive"
        self.epoch = 0
        self.token = ""
        self.expired = False
        self.crashes = 0
        self.evidence = 0
        self.alone = 0
        self.cancel = False
        self.shown = 0  # the last epoch of which somebody saw a part
        self.events: list[bytes] = []  # of the last attempt, from number 2 on
        self.first = 1  # the number that its log begins with

    def may(self, move: str, to: JobState | None = None) -> None:
        """The transition is one that `state.py` lists."""
        targets = JOB_MOVES.get(self.state, {}).get(move, frozenset())
        assert (to or self.state) in targets, f"{self.state} -{move}-> {to or self.state} is not in the table"

    @property
    def final(self) -> bool:
        """No other attempt may follow."""
        return self.epoch > 0 and self.shown == self.epoch

    def refusal(self, epoch: int) -> type[errors.Refused] | None:
        if epoch > self.epoch:  # the server has lost what this writer holds
            return errors.Unknown
        if epoch != self.epoch or epoch == 0:  # 0: nobody ever claimed it
            return errors.Fenced
        return errors.Closed if self.state in TERMINAL else None


class JobMoves(LedgerMachine):
    """Three workers with tokens, clumsy ones: they repeat themselves, come late, and write under old epochs."""

    jobs = Bundle("jobs")
    steps = 50

    def __init__(self) -> None:
        super().__init__()
        self.models: dict[str, Model] = {}
        self.epochs: dict[str, list[int]] = {}

    def epoch(self, job: str, back: int) -> int:
        """The current epoch, or an older one."""
        known = self.epochs[job]
        return known[max(len(known) - 1 - back, 0)] if known else 0

    @initialize(target=jobs)
    def first(self) -> str:
        job = self._submit()
        self.claimed(job, "a", LONG, True)
        return job

    @precondition(lambda self: len(self.models) < 3)
    @rule(target=jobs)
    def submitted(self) -> str:
        return self._submit()

    def _submit(self) -> str:
        job = new_id("job")
        assert self.do(submit(self.ledger, job, b"{}", queue="interactive")) == job
        assert self.do(submit(self.ledger, job, b"{}", queue="interactive")) == job
        self.models[job], self.epochs[job] = Model(), []
        return job

    @rule(job=jobs, token=st.sampled_from("abc"), lease=LEASE, right=RIGHT)
    def claimed(self, job: str, token: str, lease: int, right: bool) -> None:
        model = self.models[job]
        queue = model.queue if right else "elsewhere"
        call = claim(self.ledger, job, token=token, owner="w", queue=queue, lease_ms=lease)
        if model.state in TERMINAL:
            by_state = {JobState.CANCELLED: errors.Cancelled, JobState.DEAD: errors.Dead}
            self.expect(by_state.get(model.state, errors.Finished), call)
        elif model.state is JobState.RUNNING and model.token == token:
            assert self.do(call).epoch == model.epoch
            model.expired = lease == EXPIRED
        elif model.state is not JobState.QUEUED or not right:
            self.expect(errors.Busy, call)
        elif model.final:
            ended = JobState.CANCELLED if model.cancel else JobState.FAILED
            model.may("claim", ended)
            self.expect(errors.Cancelled if model.cancel else errors.Finished, call)
            self._ended(job, ended, b"end")
        else:
            model.may("claim", JobState.RUNNING)
            attempt = self.do(call)
            assert attempt.epoch > model.epoch
            assert attempt.record["body"] == b"{}"
            model.state, model.token, model.expired = JobState.RUNNING, token, lease == EXPIRED
            model.epoch, model.events, model.first = attempt.epoch, [], 1
            self.epochs[job].append(attempt.epoch)

    @rule(job=jobs, back=BACK, lease=LEASE)
    def beaten(self, job: str, back: int, lease: int) -> None:
        model, epoch = self.models[job], self.epoch(job, back)
        against = self.do(beat(self.ledger, {job: epoch}, lease_ms=lease))
        refused = model.refusal(epoch)
        if refused is not None:
            assert against == {job: refused.__name__.upper()}
        elif model.state is JobState.RUNNING:
            assert against == ({job: "CANCELLED"} if model.cancel else {})
            model.expired = lease == EXPIRED
        else:
            assert against == {job: "REQUEUED"}

    @rule(job=jobs, back=BACK, token=st.text("xyz", min_size=4, max_size=4))
    def restarted(self, job: str, back: int, token: str) -> None:
        model, epoch = self.models[job], self.epoch(job, back)
        token = f"{token}-{len(self.epochs[job])}"
        call = restart(self.ledger, job, epoch, token=token, reason="retry")
        fresh = self.expect(model.refusal(epoch) or (errors.Shown if model.final else None), call)
        if fresh is not None:
            model.may("restart")
            assert fresh > model.epoch
            assert self.do(restart(self.ledger, job, epoch, token=token, reason="retry")) == fresh
            model.epoch, model.events, model.first = fresh, [], 1
            self.epochs[job].append(fresh)

    @rule(job=jobs, back=BACK, really=RARELY)
    def seen(self, job: str, back: int, really: bool) -> None:
        model, epoch = self.models[job], self.epoch(job, back)
        if really:
            self.expect(None if epoch == model.epoch else errors.Fenced, show(self.ledger, job, epoch))
            if epoch == model.epoch and model.state not in TERMINAL:
                model.may("show")
                model.shown = epoch

    @rule(job=jobs, back=BACK, behind=st.integers(-2, 2), count=st.integers(0, 4))
    def appended(self, job: str, back: int, behind: int, count: int) -> None:
        """`behind` < 0 leaves a gap, > 0 sends again what is stored."""
        model, epoch = self.models[job], self.epoch(job, back)
        first = max(len(model.events) + 2 - behind, 2)
        sent = [
            model.events[at - 2] if at - 2 < len(model.events) else b'{"t":"text.delta","n":%d}' % at
            for at in range(first, first + count)
        ]
        refused = model.refusal(epoch)
        if refused is None and first > len(model.events) + 2:
            refused = errors.Gap
        self.expect(refused, append(self.ledger, job, epoch, first, sent))
        if refused is None:
            model.may("append")
            model.events += sent[len(model.events) + 2 - first :]

    @rule(job=jobs, back=BACK, jump=st.integers(0, 2), repeated=st.booleans())
    def compacted(self, job: str, back: int, jump: int, repeated: bool) -> None:
        model, epoch = self.models[job], self.epoch(job, back)
        seq = len(model.events) + 2 + jump
        refused = model.refusal(epoch)
        for _ in range(1 + repeated):
            last = self.expect(refused, compact(self.ledger, job, epoch, seq, b'{"t":"snapshot"}'))
        if refused is None:
            assert last == seq
            model.may("compact")
            model.events += [b""] * jump + [b'{"t":"snapshot"}']
            model.first = seq

    def longer(self) -> list[str]:
        """The jobs whose log can lose its end."""
        return [
            job
            for job, model in self.models.items()
            if model.state not in TERMINAL and len(model.events) + 1 > model.first
        ]

    @precondition(lambda self: self.longer())
    @rule(which=st.integers(0, 2), lost=st.integers(1, 3))
    def tail_lost(self, which: int, lost: int) -> None:
        """The server comes back without its last events; the holder is told where the gap is and sends them again."""
        job = self.longer()[which % len(self.longer())]
        model = self.models[job]
        lost = min(lost, len(model.events) + 1 - model.first)
        key = self.ledger.keys.job(job)
        seq = len(model.events) + 1
        entries = self.do(self.ledger.client.xrange(f"{key}:log"))
        self.do(self.ledger.client.delete(f"{key}:log"))
        for number, fields in entries[:-lost]:
            self.do(self.ledger.client.xadd(f"{key}:log", fields, id=number))
        self.do(self.ledger.client.hset(key, "seq", seq - lost))
        with pytest.raises(errors.Gap, match=f"{seq - lost + 1}"):
            self.do(append(self.ledger, job, model.epoch, seq + 1, [b"{}"]))
        self.do(append(self.ledger, job, model.epoch, seq - lost + 1, model.events[-lost:]))

    @rule(job=jobs, back=BACK, delay=st.sampled_from([0, LONG]))
    def parked(self, job: str, back: int, delay: int) -> None:
        model, epoch = self.models[job], self.epoch(job, back)
        refused = model.refusal(epoch)
        self.expect(refused, park(self.ledger, job, epoch, delay_ms=delay, calls="3:1", reason="rate_limited"))
        if refused is None:
            model.may("park", JobState.PARKED)
            if model.state is not JobState.PARKED:
                model.queue, model.crashes, model.evidence, model.alone = "interactive", 0, 0, 0
            model.state, model.token = JobState.PARKED, ""

    @rule(job=jobs, back=BACK)
    def released(self, job: str, back: int) -> None:
        model, epoch = self.models[job], self.epoch(job, back)
        refused = model.refusal(epoch)
        queue = self.expect(refused, release(self.ledger, job, epoch, calls="1:0"))
        if refused is None:
            assert queue == model.queue
            if model.state is not JobState.QUEUED:
                model.may("release", JobState.QUEUED)
            model.state, model.token = JobState.QUEUED, ""

    @rule(job=jobs, really=RARELY)
    def cancelled(self, job: str, really: bool) -> None:
        model = self.models[job]
        if not really:
            return
        if model.state is JobState.CANCELLED:
            assert self.do(cancel(self.ledger, job)) == "cancelled"
        elif model.state in TERMINAL:
            self.expect(errors.Finished, cancel(self.ledger, job))
        elif model.state is JobState.RUNNING:
            assert self.do(cancel(self.ledger, job)) == "running"
            model.cancel = True
        else:
            model.may("cancel", JobState.CANCELLED)
            assert self.do(cancel(self.ledger, job)) == "cancelled"
            self._ended(job, JobState.CANCELLED, b"end" if model.final else None)

    @rule(job=jobs, really=RARELY)
    def past_its_deadline(self, job: str, really: bool) -> None:
        model, key = self.models[job], self.ledger.keys.job(job)
        if not really:
            return
        self.do(self.ledger.client.hset(key, "expires", 1))
        if model.state is JobState.RUNNING:
            self.expect(errors.Busy, expire(self.ledger, job))
        elif model.state in TERMINAL:
            again = self.do(self.ledger.client.hget(key, "code")) == b"expired"
            assert not self.expect(None if again else errors.Finished, expire(self.ledger, job))
        else:
            model.may("expire", JobState.FAILED)
            assert self.do(expire(self.ledger, job))
            self._ended(job, JobState.FAILED, b"end" if model.final else None)
        self.do(self.ledger.client.hset(key, "expires", 10**14))

    def _ended(self, job: str, state: JobState, end: bytes | None) -> None:
        model = self.models[job]
        model.state = state
        stored = int(self.do(self.ledger.client.hget(self.ledger.keys.job(job), "epoch")))
        if stored != model.epoch:
            model.first = 1
        model.epoch = stored
        model.events = [*model.events, end] if end else [b"end"]

    @rule(job=jobs, back=BACK, state=st.sampled_from(ENDS), late=st.integers(0, 1), really=RARELY)
    def finished(self, job: str, back: int, state: JobState, late: int, really: bool) -> None:
        model, epoch = self.models[job], self.epoch(job, back)
        if not really:
            return
        seq = len(model.events) + 2 + late
        end = b'{"t":"end","status":"%s"}' % state.encode()
        call = finish(self.ledger, job, epoch, state, seq=seq, event=end, result=b"{}", counters={"jobs": 1})
        if epoch == model.epoch and model.state is state:
            assert self.do(call) is False
            return
        refused = model.refusal(epoch) or (errors.Gap if late else None)
        assert self.expect(refused, call) in (True, None)
        if refused is None:
            model.may("finish", state)
            self._ended(job, state, end)

    @rule()
    def recovered(self) -> None:
        expected = [job for job, model in self.models.items() if model.state is JobState.RUNNING and model.expired]
        self._taken_back(expected, self.do(recover(self.ledger)), seen=False)

    @rule(really=RARELY)
    def seen_to_end(self, really: bool) -> None:
        """Somebody saw the worker end: it is not asked whether leases have run out."""
        if really:
            expected = [job for job, model in self.models.items() if model.state is JobState.RUNNING]
            self._taken_back(expected, self.do(report_end(self.ledger, "w")), seen=True)

    def _taken_back(self, jobs: list[str], published: list[tuple[str, str]], *, seen: bool) -> None:
        hints = {job: queue for queue, job in published}
        for job in jobs:
            model = self.models[job]
            model.expired = False
            dead = self._judged(model, len(jobs), seen)
            if model.cancel:
                self._recovered_to(job, JobState.CANCELLED)
            elif dead:
                self._recovered_to(job, JobState.DEAD)
            else:
                model.may("recover", JobState.QUEUED)
                model.state, model.token = JobState.QUEUED, ""
                assert hints.pop(job) == model.queue
        assert not hints

    def _judged(self, model: Model, together: int, seen: bool) -> bool:
        model.crashes += model.queue != "quarantine" or not seen
        if model.queue == "quarantine":
            model.alone += together == 1 and (seen or model.crashes % 3 == 0)
            return model.alone >= 3
        model.evidence += 1_000_000 // together
        if model.evidence >= 500_000 or model.crashes >= 3:
            model.queue, model.crashes, model.evidence, model.alone = "quarantine", 0, 0, 0
        return False

    def _recovered_to(self, job: str, state: JobState) -> None:
        self.models[job].may("recover", state)
        self.models[job].state = state
        self.models[job].events.append(b"end")

    @rule()
    def made_due(self) -> None:
        for queue, job in self.do(due(self.ledger)):
            model = self.models[job]
            assert queue == model.queue
            model.may("due", JobState.QUEUED)
            model.state = JobState.QUEUED

    @rule(job=jobs, old_copy=st.booleans())
    def lost_and_restored(self, job: str, old_copy: bool) -> None:
        """The server comes back from an old copy, without the record, or with it as it was before; its holder writes it
        again."""
        model = self.models[job]
        if model.state is not JobState.RUNNING or model.cancel:
            return
        key = self.ledger.keys.job(job)
        record = {k.decode(): v for k, v in self.do(self.ledger.client.hgetall(key)).items()}
        entries = [fields[b"d"] for _, fields in self.do(self.ledger.client.xrange(f"{key}:log"))]
        self.do(self.ledger.client.delete(key, f"{key}:log"))
        if old_copy:
            self.do(self.ledger.client.hset(key, mapping={"state": "queued", "epoch": 0, "n": 0}))
        self.expect(errors.Unknown, append(self.ledger, job, model.epoch, 2, [b"{}"]))
        for _ in range(2):
            last = restore(self.ledger, job, model.epoch, record, entries, first_seq=model.first, lease_ms=LONG)
            assert self.do(last) == model.first - 1 + len(entries)
        model.expired = False

    @invariant()
    def the_same(self) -> None:
        for job, model in self.models.items():
            key = self.ledger.keys.job(job)
            state, queue, epoch, body = self.do(self.ledger.client.hmget(key, "state", "queue", "epoch", "body"))
            assert state.decode() == model.state
            assert queue.decode() == model.queue
            assert int(epoch) == model.epoch
            assert (body is None) == (model.state in TERMINAL)
            ids = [entry.decode() for entry, _ in self.do(self.ledger.client.xrange(f"{key}:log"))]
            assert ids == [f"{model.epoch}-{n}" for n in range(model.first, model.first + len(ids))]
            if ids:
                assert len(ids) == len(model.events) + 2 - model.first
            if model.state in TERMINAL:
                last = self.do(self.ledger.client.xrevrange(f"{key}:log", count=1))[0][1][b"d"]
                assert b'"t":"end"' in last
                assert self.do(self.ledger.client.pttl(key)) > 0
                assert self.do(self.ledger.client.zscore(self.ledger.keys.due, job)) is None
                assert self.do(self.ledger.client.zscore(self.ledger.keys.leases, job)) is None
            else:
                # Whatever is alive is found again by somebody, whoever dies.
                where = self.ledger.keys.leases if model.state is JobState.RUNNING else self.ledger.keys.due
                assert self.do(self.ledger.client.zscore(where, job)) is not None
