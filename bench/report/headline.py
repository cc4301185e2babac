"""The sentences of the README that have figures in them, of those that were measured."""

from __future__ import annotations

import re
import textwrap

from bench.report.figures import Results

FIGURE = re.compile(r"(<!-- figure: (.*?) -->).*?(<!-- / -->)")
"""A figure within a text: it is replaced by that of the row named in the mark."""

SOURCES = (
    "Each promise has its tests in [promises.md](docs/promises.md), each figure its row in "
    "[performance.md](docs/performance.md)."
)
LINE = 128


def filled(text: str, results: Results) -> str:
    """Return `text` with every marked figure as measured, with its unit. Raises `KeyError` for a name that no row has."""
    rows = {row.name: row for row in results.rows}
    return FIGURE.sub(lambda mark: f"{mark[1]}{rough(rows[mark[2]].value)} {rows[mark[2]].unit}{mark[3]}", text)


def rough(value: float) -> str:
    """Two digits are enough for a sentence."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def headline(results: Results) -> str:
    """Return what headrace does beside its peers, and on its own, in a few sentences."""
    said = [*beside_peers(results), *chat(results), *million(results), SOURCES]
    return textwrap.fill(" ".join(said), LINE, break_long_words=False, break_on_hyphens=False)


def beside_peers(results: Results) -> list[str]:
    peers = {
        "items per CPU-second vs gather, default transport": "`asyncio.gather` over `AsyncOpenAI`",
        "items per CPU-second vs gather, aiohttp": "`gather` on the SDK's aiohttp transport",
        "items per CPU-second vs Celery, one task per completion": "Celery with a task per completion",
        "items per CPU-second vs the best of the other queues": "the best of taskiq, arq, saq and dramatiq",
    }
    measured = [(results.value(name), who) for name, who in peers.items()]
    said = [f"{rough(ratio)} times those of {who}" for ratio, who in measured if ratio is not None]
    return [f"Its items per CPU second are {listed(said)}."] if said else []


def chat(results: Results) -> list[str]:
    rate, cpu_ms = (
        results.value(f"{name}, headrace") for name in ("plain chats a second, 50 in flight", "CPU of a plain chat")
    )
    added_ms = results.value("added latency of a plain chat, one in flight, p50, headrace")
    if rate is None or cpu_ms is None or added_ms is None:
        return []
    theirs = results.value("CPU of a plain chat, LiteLLM's proxy")
    beside = "" if theirs is None else f" (LiteLLM's proxy: {rough(theirs)} ms)"
    return [
        f"A plain chat through the gateway adds {rough(added_ms)} ms; {rough(rate)} a second at 50 in flight, at "
        f"{rough(cpu_ms)} ms of CPU each{beside}."
    ]


def million(results: Results) -> list[str]:
    rate, redis = (
        results.value("items a second, the large batch"),
        results.value("Redis memory over idle, the large batch"),
    )
    items, worker = results.value("items of the large batch"), results.value("RSS of the worker, the large batch")
    if rate is None or redis is None or items is None or worker is None:
        return []
    return [
        f"A batch of {items:,.0f} items goes through one worker at {rough(rate)} a second, with {rough(redis)} MiB in Redis "
        f"and {rough(worker)} MB in the worker."
    ]


def listed(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
