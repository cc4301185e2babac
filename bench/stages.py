"""What each stage of a bulk item costs, by the functions that workers run. `python -m bench.run stages`.

CPU microseconds of this process over many repetitions, and for the checkpoint those of Valkey beside it: the median of rounds. A
profile of a worker would change what it measures.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import msgspec
from headrace_providers import OpenAIChatCompletion
from headrace_providers.registry import Registry
from headrace_providers.wire.chunks import decoded
from headrace_providers.wire.http_transport import HttpTransport
from headrace_providers.wire.reducer import Reducer
from headrace_providers.wire.transport import Deadlines, encoded
from headrace_worker.engine.engine import Engine
from headrace_worker.engine.tries import Tries

from bench.floor import medians_us
from bench.peers import item
from bench.peers.contender import cpu_seconds
from bench.report.figures import Figures, row
from bench.scale import scaled
from bench.service import stub, valkey
from bench.stub import ANSWER
from headrace.batches.outputs.output_lines import success_line
from headrace.batches.template import Item, Template
from headrace.chat.completion import Completion
from headrace.jobs.job import Job, new_id
from headrace.ledger.checkpoint import CheckpointRow, checkpoint
from headrace.ledger.claim import claim
from headrace.ledger.feed import feed
from headrace.ledger.finish_shard import finish_shard
from headrace.ledger.open import open_batch
from headrace.ledger.script import Ledger
from headrace.ledger.shard_range import ShardRange

ROUNDS, ITEMS, CALLS = 7, 3000, 600
SHARD, GROUP = 64, 48  # items of a shard; rows of a checkpoint, as in a batch of fast answers
SHARDS = 150
TEMPLATE = Template(model="openai/stub", prompt=item.PROMPT, schema=item.SCHEMA)
LINE = msgspec.json.encode(Item(custom_id="1", fields={"number": 1}))
JOB = TEMPLATE.job(msgspec.json.decode(LINE, type=Item))


def figures() -> Figures:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = stack.enter_context(stub(folder))
        model = OpenAIChatCompletion("stub", base_url=url, api_key="stub", retry=False)
        costs_us = computed(model) | asyncio.run(exchanged(model, url))
        server = stack.enter_context(valkey(folder / "valkey"))
        assert server.pid is not None
        worker_us, valkey_us = asyncio.run(checkpointed(server.url, server.pid, row_of(completed(model))))
    costs_us |= {"claim, checkpoint, finish": worker_us}
    made = [row(f"CPU of an item's stage: {name}", cost, "us") for name, cost in costs_us.items()]
    return Figures([*made, row("CPU of an item's stage: Valkey", valkey_us, "us")])


def computed(model: OpenAIChatCompletion) -> dict[str, float]:
    """The stages that wait for nothing."""
    plain, completion = msgspec.structs.replace(JOB, schema=None), completed(model)

    def request() -> None:
        encoded(model.request(TEMPLATE.job(msgspec.json.decode(LINE, type=Item)), "batch_1.1.1.1").body)

    def reduce(job: Job) -> None:
        reducer = Reducer(model.mode_of(job), model.facts.dialect)
        reducer.add(decoded(ANSWER))
        reducer.completion(job, deployment="openai")

    def written() -> None:
        row_of(completion)

    stages = {"request": request, "reduce": partial(reduce, plain), "validate": partial(reduce, JOB), "row": written}
    costs = timed_us(stages)
    return costs | {"validate": costs["validate"] - costs["reduce"]}


def timed_us(stages: dict[str, Callable[[], None]]) -> dict[str, float]:
    """CPU microseconds of one run of each stage: the median of rounds in which they take turns."""
    count = scaled(ITEMS, least=100)
    costs: dict[str, list[float]] = {name: [] for name in stages}
    for number in range(ROUNDS + 1):
        for name, stage in stages.items():
            began = time.process_time()
            for _ in range(count):
                stage()
            if number:
                costs[name].append((time.process_time() - began) / count * 1e6)
    return {name: statistics.median(each) for name, each in costs.items()}


def completed(model: OpenAIChatCompletion) -> Completion:
    """The completion that the stub's answer becomes."""
    reducer = Reducer(model.mode_of(JOB), model.facts.dialect)
    reducer.add(decoded(ANSWER))
    return reducer.completion(JOB, deployment="openai")


def row_of(completion: Completion) -> CheckpointRow:
    return CheckpointRow(0, "s", success_line("1", "batch_1.1.1.1", completion), completion.counters())


async def exchanged(model: OpenAIChatCompletion, url: str) -> dict[str, float]:
    """The exchange with the provider without the encoding of the request, and what the engine adds to a completion."""
    environ = {"OPENAI_BASE_URL": url, "OPENAI_API_KEY": "stub"}
    registry, transport = Registry(Deadlines(), environ), HttpTransport()
    engine, request = Engine(registry, calls=256), model.request(JOB)

    async def exchange() -> None:
        assert [chunk async for chunk in transport.chunks(request)]

    async def complete() -> None:
        assert (await model.complete(JOB)).value

    async def ask() -> None:
        assert (await engine.ask(JOB, identity="batch_1.1", epoch=1, tries=Tries())).value

    calls = {"exchange": exchange, "complete": complete, "ask": ask}
    costs = await medians_us(calls, ROUNDS, scaled(CALLS, least=50))
    await transport.close()
    await model.close()
    await registry.close()
    return {"exchange": costs["exchange"], "engine": costs["ask"] - costs["complete"]}


async def checkpointed(url: str, server: int, row: CheckpointRow) -> tuple[float, float]:
    """CPU microseconds an item, here and in Valkey, of shards that are claimed, checkpointed and finished."""
    ledger, batch, shards = Ledger.at(url), new_id("batch"), scaled(SHARDS, least=10)
    sha, template = TEMPLATE.encoded()
    record = {"total": shards * SHARD, "shards": shards}
    await open_batch(
        ledger, batch, template_sha=sha, template=template, window_ms=3600_000, tenant="default", record=record
    )
    ranges = [ShardRange(line=n * SHARD, count=SHARD, offset=0, length=1) for n in range(shards)]
    await feed(ledger, batch, 0, ranges, queue="bulk")
    rows = [msgspec.structs.replace(row, index=index) for index in range(SHARD)]
    began, used_s = time.process_time(), cpu_seconds([server])
    for number in range(shards):
        shard = f"{batch}.s{number}"
        claimed = await claim(ledger, shard, token=new_id("job"), owner="bench", queue="bulk")
        for at in range(0, SHARD, GROUP):
            await checkpoint(ledger, shard, claimed.epoch, rows[at : at + GROUP])
        await finish_shard(ledger, shard, claimed.epoch, "1")
    worker_s, server_s = time.process_time() - began, cpu_seconds([server]) - used_s
    await ledger.close()
    return worker_s / (shards * SHARD) * 1e6, server_s / (shards * SHARD) * 1e6
