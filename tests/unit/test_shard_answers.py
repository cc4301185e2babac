"""The items of shards by way of the cache: of equal ones one runs, and no order of ends holds a shard up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import fakeredis
import msgspec
import pytest
from headrace_worker.engine.answer_cache import AnswerCache
from headrace_worker.execution.shard_answers import ShardAnswers, shard_answers

from headrace.batches.build import make_template
from headrace.batches.template import Item
from headrace.chat.completion import Completion, Usage
from headrace.jobs.job import Job
from headrace.ledger.script import Ledger

RUNNERS = 8


class Engine:
    def __init__(self, answers: AnswerCache):
        self.answers = answers

    def deployments_of(self, job: Job) -> str:
        return job.model

    async def fits(self, job: Job, kept: Completion) -> bool:
        return True


class Shard:
    """A shard that runs by itself; `calls` are the texts that were asked for, `rows` what became of each item."""

    def __init__(self, engine: Engine, name: str, texts: list[str], failing: set[str], takes_s: float = 0.0):
        self.engine, self.name, self.texts = engine, name, texts
        self.failing, self.takes_s = failing, takes_s
        self.calls: list[str] = []
        self.rows: dict[int, str] = {}

    async def run(self) -> None:
        template, _ = make_template("openai/m", "{text}")
        answers = await shard_answers(
            *(self.engine, self.name, "default", template),  # type: ignore[arg-type]
            [Item(custom_id=str(n), fields={"text": text}) for n, text in enumerate(self.texts)],
            range(len(self.texts)),
            take=lambda index, completion: self.rows.__setitem__(index, f"cached {completion.content}"),
            may_begin=lambda: True,
        )
        assert answers is not None
        async with asyncio.timeout(20):
            await asyncio.gather(*(self.runner(answers) for _ in range(min(RUNNERS, len(self.texts)))))
            await answers.close()

    async def runner(self, answers: ShardAnswers) -> None:
        while (following := await answers.next()) is not None:
            index, text = following[0], self.texts[following[0]]
            try:
                self.calls.append(text)
                await asyncio.sleep(self.takes_s)
                if text in self.failing:
                    answers.failed(index)
                    self.rows[index] = "failed"
                else:
                    self.rows[index] = text
                    answers.answered(index, completion(text))
            finally:
                answers.wake()


def completion(text: str) -> Completion:
    return Completion(id="x", model="m", created=1, usage=Usage(1, 1), content=text, finish_reason="stop")


@pytest.fixture
async def engine() -> AsyncIterator[Any]:
    ledger = Ledger(fakeredis.FakeAsyncRedis(), "shards")
    engine = Engine(AnswerCache(ledger, ledger, process="p", ttl_s=60, max_bytes=1 << 20))
    yield engine
    await engine.answers.close()
    await ledger.close()


async def test_equal_items_that_fail_run_and_hold_nobody_up(engine: Engine) -> None:
    """Two that fail, and equal ones in both shards."""
    texts = ["miss"] * 2 + ["fine"] * 8
    shards = [Shard(engine, "batch_a.s0", texts[:8], {"miss"}), Shard(engine, "batch_a.s1", texts[8:], {"miss"})]
    await asyncio.gather(*(shard.run() for shard in shards))
    assert sorted(text for shard in shards for text in shard.calls) == ["fine", "miss", "miss"]
    assert [len(shard.rows) for shard in shards] == [8, 2]
    again = [Shard(engine, "batch_b.s0", texts[:8], {"miss"}), Shard(engine, "batch_b.s1", texts[8:], {"miss"})]
    await asyncio.gather(*(shard.run() for shard in again))
    assert sorted(text for shard in again for text in shard.calls) == ["miss", "miss"]


@pytest.mark.parametrize("takes_s", [0.0, 0.01])
async def test_many_shards_with_many_equal_items_pay_each_once(engine: Engine, takes_s: float) -> None:
    texts = [f"text {n * 7 % 90}" for n in range(400)]
    shards = [Shard(engine, f"batch_c{takes_s}.s{n}", texts[n::4], set(), takes_s) for n in range(4)]
    await asyncio.gather(*(shard.run() for shard in shards))
    assert sorted(text for shard in shards for text in shard.calls) == sorted(set(texts))
    for shard in shards:
        assert [shard.rows[n].removeprefix("cached ") for n in range(len(shard.texts))] == shard.texts


async def test_an_item_costs_a_twentieth_of_a_round_trip_at_most(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    moves: list[str] = []
    run = Ledger.run

    async def counted(self: Ledger, name: str, *words: Any) -> list[bytes]:
        moves.append(name)
        return await run(self, name, *words)

    monkeypatch.setattr(Ledger, "run", counted)
    shards = [Shard(engine, f"batch_d.s{n}", [f"{n} {line}" for line in range(256)], set(), 0.001) for n in range(2)]
    await asyncio.gather(*(shard.run() for shard in shards))
    assert sum(len(shard.calls) for shard in shards) == 512
    assert len(moves) <= 512 / 20, moves
    moves.clear()
    await Shard(engine, "batch_e.s0", shards[0].texts, set()).run()
    assert moves == ["look_up"] * 4, "all hits: nothing is written"


async def test_a_line_that_is_no_request_has_no_key_whichever_attempt_its_row_is_of(engine: Engine) -> None:
    template, _ = make_template("openai/m", "{text}")
    items = [Item(custom_id="0", refused="no text"), Item(custom_id="1", fields={"text": "a"})]
    for todo, earlier in (([1], [0]), ([0, 1], [])):
        found = await shard_answers(
            *(engine, f"batch_{len(todo)}.s0", "default", msgspec.structs.replace(template, variant=str(todo))),  # type: ignore[arg-type]
            items,
            todo,
            take=lambda index, completion: None,
            may_begin=lambda: True,
        )
        assert found is not None
        begun = [await found.next() for _ in todo]
        assert [each[0] for each in begun if each] == todo
        found.answered(1, completion("a"))
        keys = found.packed_keys(earlier)
        assert keys.startswith(bytes(12))
        assert any(keys[12:])
        await found.close()


async def test_answers_of_a_shard_in_which_nothing_runs_any_more_are_found_again(engine: Engine) -> None:
    """Its worker died between the last row and the part, or it was in quarantine: its rows are of earlier attempts."""
    template, _ = make_template("openai/m", "{text}")
    found = await shard_answers(
        *(engine, "batch_f.s0", "default", template),  # type: ignore[arg-type]
        [Item(custom_id=str(n), fields={"text": f"text {n}"}) for n in range(3)],
        [],
        take=lambda index, completion: None,
        may_begin=lambda: True,
    )
    assert found is not None
    assert await found.next() is None
    keys = found.packed_keys([0, 2])
    assert [any(keys[at : at + 12]) for at in (0, 12, 24)] == [True, False, True]
    await found.close()
