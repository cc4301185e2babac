"""The files of the results: the figures as JSON, and what is made of them."""

from __future__ import annotations

from pathlib import Path

from bench.report.figures import RESULTS, Results, dump
from bench.report.markdown import table
from bench.report.plots import plots

HEAD = """# The last figures

Made of `latest.json` by `make bench`. How they are measured: [performance.md](../../docs/performance.md).

"""


def derived(results: Results) -> dict[str, str]:
    """Return the files that are made of the figures, by name: a table and the plots."""
    return {"latest.md": f"{HEAD}{table(results)}\n", **plots(results)}


def write(results: Results, folder: Path = RESULTS) -> None:
    """Write the figures and all that is made of them; a plot that is no longer made is removed."""
    folder.mkdir(exist_ok=True)
    files = {"latest.json": dump(results), **derived(results)}
    for name, text in files.items():
        (folder / name).write_text(text)
    for old in folder.glob("*.svg"):
        if old.name not in files:
            old.unlink()
