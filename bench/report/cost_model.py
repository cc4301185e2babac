"""The cost model of docs/performance.md: from the measured costs of one item, chat and chunk, what a machine and a ledger carry.

Pure arithmetic over `latest.json`. Whatever was not measured yet says so, and so does all that would follow from it.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import NamedTuple

from bench.report.figures import Results, number
from bench.report.headline import LINE

UNKNOWN = "not measured yet"
STREAMS, CHUNKS_A_SECOND = 100, 50  # of the rows "cores used at 100 streams x 50/s"
FULL = 0.7
"""Of a core that one ledger may use on average: above it every peak becomes a queue."""
MACHINES, CORES = 100, 8
VIEWERS = 1000
CHUNKS_OF_AN_ANSWER = 500
LEAST = (1, 2, 0)
"""Exchanges without which there is no item, chat, chunk: with the provider, and of a chat with its client."""
LEAST_TEXT = {
    0: "the ledger's part",
    1: "a raw exchange, and the ledger's part",
    2: "two raw exchanges, and the ledger's part",
}
STAGES = ("request", "exchange", "reduce", "validate", "engine", "row", "claim, checkpoint, finish")


class Load(NamedTuple):
    """A kind of work: what one of it costs in microseconds of CPU, by process. None: not measured yet."""

    name: str  # "a bulk item"
    plural: str
    gateway_us: float | None
    worker_us: float | None
    ledger_us: float | None

    @property
    def service_us(self) -> float | None:
        """CPU of all but the ledger: it can be had on any machine."""
        return added([self.gateway_us, self.worker_us])

    @property
    def ledger_rate(self) -> float | None:
        """As many a second take the ledger's share of its one core."""
        return FULL * 1e6 / self.ledger_us if self.ledger_us else None

    @property
    def core_rate(self) -> float | None:
        """As many a second take one core of workers and gateways."""
        return 1e6 / self.service_us if self.service_us else None


def loads(results: Results) -> list[Load]:
    def us(name: str, factor: float) -> float | None:
        value = results.value(name)
        return None if value is None else value * factor

    def chunk_us(process: str) -> float | None:
        name = f"cores used at {STREAMS} streams x {CHUNKS_A_SECOND}/s: {process}"
        return us(name, 1e6 / (STREAMS * CHUNKS_A_SECOND))

    item, chat = "CPU of an item, headrace's", "CPU of a plain chat, headrace's"
    return [
        Load("a bulk item", "items", 0.0, us(f"{item} worker", 1000), us(f"{item} broker", 1000)),
        Load("a plain chat", "chats", *(us(f"{chat} {part}", 1000) for part in ("gateway", "worker", "valkey"))),
        Load("a streamed chunk", "chunks", *map(chunk_us, ("gateway", "worker", "valkey"))),
    ]


def cost_model(results: Results) -> str:
    """Return the tables, as Markdown: by process, by stage, to Redis, the bounds, growth, and what many machines do."""
    known = loads(results)
    parts = [
        *("### CPU, by process", by_process(known)),
        *("### CPU of a bulk item, by stage", by_stage(results)),
        *("### To Redis", traffic(results)),
        *("### What bounds it, and how far that is", bounds(known, results)),
        *("### Growth", growth(results)),
        *("### One ledger, and a hundred machines", fleet(known)),
    ]
    return "\n\n".join(parts)


def by_process(known: Sequence[Load]) -> str:
    rows = [
        (each.name, us(each.gateway_us) if each.gateway_us != 0 else "none", us(each.worker_us), us(each.ledger_us))
        for each in known
    ]
    return table(("", "gateway", "worker", "ledger (Valkey)"), rows)


def by_stage(results: Results) -> str:
    costs = {name: results.value(f"CPU of an item's stage: {name}") for name in (*STAGES, "Valkey")}
    total = added([costs[name] for name in STAGES])
    rows = [(name, us(cost), share(cost, total)) for name, cost in costs.items() if name != "Valkey"]
    rows.append(("all stages of the worker", us(total), ""))
    worker = results.value("CPU of an item, headrace's worker")
    rows.append(("the worker as measured, with its loop and tasks", us(worker and worker * 1000), ""))
    rows.append(("beside it, in Valkey: claim, checkpoint, finish", us(costs["Valkey"]), ""))
    return table(("stage", "CPU", "share of the stages"), rows)


def traffic(results: Results) -> str:
    kinds = ("commands", "moves of the ledger", "round trips", "bytes")
    rows = []
    for what in ("a plain chat", "a streamed chunk", "a bulk item"):
        names = [f"{kind} {'for' if kind == 'moves of the ledger' else 'to Redis for'} {what}" for kind in kinds]
        rows.append((what, *(shown(results.value(name)) for name in names)))
    return table(("", *kinds), rows)


def bounds(known: Sequence[Load], results: Results) -> str:
    """The least that each could cost beside what it does: nobody does without the exchange, and a service not without ledger."""
    raw, transport, completion = (
        results.value(f"CPU of {name}")
        for name in ("a raw exchange on asyncio", "a call over headrace's transport", "a completion")
    )
    exchange = "a raw exchange over loopback"
    rows = [
        ("a call over the transport", exchange, us(raw), us(transport), times(transport, raw)),
        ("a completion", exchange, us(raw), us(completion), times(completion, raw)),
    ]
    for each, exchanges in zip(known, LEAST, strict=True):
        least = added([raw and raw * exchanges if exchanges else 0.0, each.ledger_us])
        ours = added([each.service_us, each.ledger_us])
        rows.append((each.name, LEAST_TEXT[exchanges], us(least), us(ours), times(ours, least)))
    return table(("", "the least", "its CPU", "our CPU", "how far"), rows)


def growth(results: Results) -> str:
    crowd_mb = results.value("RSS growth of a gateway, 1,000 viewers of one job")
    small, large = results.value("items per CPU-second, headrace"), results.value("CPU of an item, the large batch")
    rows = [
        (
            "items of a batch: CPU of an item, large batch against small",
            times(large, 1000 / small if small else None),
        ),
        (
            "items of a batch: Redis memory over idle, large batch",
            shown(results.value("Redis memory over idle, the large batch"), "MiB"),
        ),
        (
            "items of a batch: RSS of the worker at the end against that after 10,000",
            shown(results.value("RSS of the worker against that after 10,000 items, the large batch"), "x"),
        ),
        ("viewers of one job: memory of the gateway for each", shown(crowd_mb and crowd_mb * 1000 / VIEWERS, "KB")),
        (
            "open streams: memory of the worker for each of 500",
            shown((mb := results.value("RSS growth of a worker, 500 streams open")) and mb * 1000 / 500, "KB"),
        ),
    ]
    return table(("with", "measured"), rows)


def fleet(known: Sequence[Load]) -> str:
    """What one ledger carries, the cores that keep it busy, and what `MACHINES` machines would do and need."""
    rows = []
    for each in known:
        ledger, core = each.ledger_rate, each.core_rate
        cores = ledger / core if ledger and core else None
        rate = MACHINES * CORES * core if core else None
        ledgers = -int(-rate // ledger) if rate and ledger else None
        rows.append(
            (
                each.plural,
                shown(ledger, "1/s"),
                shown(cores, ""),
                shown(rate, "1/s"),
                UNKNOWN if ledgers is None else f"{ledgers:,}",
            )
        )
    head = ("", "one ledger carries", "by cores of workers and gateways", f"{MACHINES} machines do", "with ledgers")
    chunks = known[-1].ledger_rate
    streams = chunks / CHUNKS_A_SECOND if chunks else None
    said = (
        f"A ledger counts as full at {FULL:.0%} of its core, a machine has {CORES} cores for workers and gateways. Of streams "
        f"with {CHUNKS_A_SECOND} chunks a second one ledger carries {shown(streams)}, of answers of {CHUNKS_OF_AN_ANSWER} "
        f"chunks {shown(chunks / CHUNKS_OF_AN_ANSWER if chunks else None, 'a second')}."
    )
    return f"{table(head, rows)}\n\n{textwrap.fill(said, LINE)}"


def added(values: Sequence[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return sum(present) if len(present) == len(values) else None


def us(value: float | None) -> str:
    return shown(value, "µs")


def share(part: float | None, whole: float | None) -> str:
    return f"{part / whole:.0%}" if part is not None and whole else ""


def times(value: float | None, bound: float | None) -> str:
    return UNKNOWN if value is None or not bound else f"{value / bound:.1f} times"


def shown(value: float | None, unit: str = "") -> str:
    return UNKNOWN if value is None else f"{number(float(f'{value:.3g}'))} {unit}".rstrip()


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
