"""Bulk extraction against a raw stub at 0 ms beside its peers, alternating in one run. `python -m bench.run bulk`.

Figures are ratios: machines are shared and noisy. All contenders do the same work (bench/peers/item.py): the same prompt, the
answer decoded and validated, a row written. CPU seconds are those of the producer, the worker and the broker together.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from bench.contenders import (
    CELERY,
    GATHER,
    GATHER_AIOHTTP,
    HEADRACE,
    QUEUES,
    Contender,
    Failed,
    Measured,
    measure,
    present,
)
from bench.report.figures import Figures, Row, row, versus
from bench.scale import progress, scaled
from bench.service import stub

ROUNDS = 3
PER_CPU = "items per CPU-second"
WHY = "each item is checkpointed in Redis, and its batch can be resumed, cancelled and watched"


def figures() -> Figures:
    """Measure everyone who is there, in rounds."""
    contenders, absent = present()
    totals = dict.fromkeys(contenders, Measured())
    with tempfile.TemporaryDirectory() as folder, stub(Path(folder)) as url:
        for number in range(ROUNDS):
            for contender in [each for each in contenders if each.label not in absent]:
                place = Path(folder) / f"{number}-{contender.peer}-{contender.variant}"
                try:
                    one = measure(contender, url, place, scaled(contender.items, least=100))
                except Failed as error:
                    if contender == HEADRACE:
                        raise
                    progress(f"bulk, {error}")
                    absent[contender.label] = "failed"
                    continue
                progress(f"bulk, round {number + 1} of {ROUNDS}: {contender.label}, {one.cpu_ms:.3f} ms of CPU an item")
                totals[contender] = totals[contender].plus(one)
    totals = {each: total for each, total in totals.items() if each.label not in absent}
    names = {"gather": "openai"}  # what it gathers is the SDK's calls
    versions = {names.get(each.peer, each.peer): total.version for each, total in totals.items() if each != HEADRACE}
    return Figures(rows(totals), versions, absent)


def rows(totals: dict[Contender, Measured]) -> list[Row]:
    """Make the rows of what was measured; of a contender that is absent there are none."""
    per_cpu = {each: total.items / total.cpu_seconds for each, total in totals.items()}
    ours, total = per_cpu[HEADRACE], totals[HEADRACE]
    made = [row(f"{PER_CPU}, {each.label}", value, "1/s") for each, value in per_cpu.items()]
    made += [
        row(f"CPU of an item, headrace's {part}", used / total.items * 1000, "ms") for part, used in total.parts.items()
    ]
    for name, whom, budget in (
        ("gather, default transport", (GATHER,), 8.0),
        ("gather, aiohttp", (GATHER_AIOHTTP,), 3.5),
        ("Celery, one task per completion", CELERY, 10.0),
        ("the best of the other queues", QUEUES, 5.0),
    ):
        if theirs := [per_cpu[each] for each in whom if each in per_cpu]:
            made.append(versus(f"{PER_CPU} vs {name}", ours, max(theirs), budget, why=WHY))
    if GATHER in totals:
        rates = {each: totals[each].items / totals[each].seconds for each in (HEADRACE, GATHER)}
        made.append(versus("items per second vs gather, default transport", rates[HEADRACE], rates[GATHER], why=WHY))
    return made
