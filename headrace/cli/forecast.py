"""`headrace forecast`: what `headrace extract` with the same words would take and cost."""

from __future__ import annotations

from typing import Any

import click

from headrace.cli.extract import extract

NOT_HERE = {"out", "whole", "excel", "force", "new", "detach", "dry_run", "calibrate", "sample"}
"""Parameters of `extract` that say what becomes of a batch."""


def forecast_of_extract(sample: int | None, **parameters: Any) -> None:
    """Say what `headrace extract` with the same words would take and cost: tokens of every item with its template and schema,
    the cost with an interval, equal items, lines that will be refused, and the time at the limits that are set.

    Nothing is sent, but with --sample N items are really asked, and paid: they correct the count, and say how long answers are.
    What they answer is cached, so that the extraction does not pay it again.
    """
    assert extract.callback is not None
    left = {name: None if name in ("out", "sample") else False for name in NOT_HERE}
    extract.callback(**parameters, **left | {"dry_run": True, "calibrate": sample})


forecast = click.Command(
    "forecast",
    callback=forecast_of_extract,
    params=[
        *(parameter for parameter in extract.params if parameter.name not in NOT_HERE),
        click.Option(["--sample"], type=click.IntRange(2, 10_000), help="Try N items out, and pay for them."),
    ],
    help=forecast_of_extract.__doc__,
    epilog="Example: headrace forecast reviews.csv --schema review.json --model openai/gpt-5-mini --sample 20",
)
