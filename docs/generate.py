"""Writes the generated parts of the docs from the code and the last benchmark: `python docs/generate.py [--check]`."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType

import msgspec

from headrace.ledger.state import JOB_MOVES
from headrace.schema.targets import LISTS, NUMBERS, TARGETS, TEXTS
from headrace.settings import Settings, variable

DOCS = Path(__file__).parent
RESULTS = DOCS.parent / "bench" / "results" / "latest.json"


def states() -> str:
    """The state machine of a job, as a diagram that GitHub draws."""
    arrows: dict[tuple[str, str], list[str]] = {}
    for state, moves in JOB_MOVES.items():
        for move, targets in moves.items():
            for target in targets:
                if target != state:
                    arrows.setdefault((state, target), []).append(move)
    lines = [
        f"    {state} --> {target}: {', '.join(sorted(moves))}" for (state, target), moves in sorted(arrows.items())
    ]
    return "\n".join(["```mermaid", "stateDiagram-v2", "    [*] --> queued: submit", *lines, "```"])


def settings() -> str:
    """Every variable with its default and what its comment in the source says."""
    source = (DOCS.parent / "headrace" / "settings.py").read_text()
    rows = []
    for field in msgspec.structs.fields(Settings):
        comment = re.search(rf"^    {field.name}:.*?  # (.*)$", source, re.MULTILINE)
        default = "" if field.default is None else f"`{field.default}`"
        rows.append(f"| `{variable(field.name)}` | {default} | {comment[1] if comment else ''} |")
    return "\n".join(["| variable | default | meaning |", "|---|---|---|", *rows])


def performance() -> str:
    rows = [
        f"| {row['name']} | {row['value']} {row['unit']} | {'' if row['budget'] is None else row['budget']} | "
        f"{ {None: '', True: 'yes', False: '**no**'}[row['holds']] } |"
        for row in json.loads(RESULTS.read_text())
    ]
    return "\n".join(["| what | measured | budget | holds |", "|---|---|---|---|", *rows])


def conformance() -> str:
    """Statement by statement, the tests that hold it."""
    folder = DOCS.parent / "tests" / "unit" / "providers"
    return module_at(folder / "conformance.py").table(folder)


def module_at(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def targets() -> str:
    """What each provider's strict mode keeps of a schema's limits."""
    words = ("format", *NUMBERS, *TEXTS, *LISTS)
    alone = {"pattern": "kept without `format`"} | dict.fromkeys(("minLength", "maxLength"), "kept without either")
    lines = [f"| | {' | '.join(TARGETS)} |", f"|---|{'---|' * len(TARGETS)}"]
    for word in words:
        kept = (
            (alone.get(word, "kept") if row.one_of_texts else "kept")
            if word in row.keywords or word == "format"
            else "validated"
            for row in TARGETS.values()
        )
        lines.append(f"| `{word}` | {' | '.join(kept)} |")
    for name in ("depth", "properties", "enum_values", "chars"):
        lines.append(
            f"| {name.replace('_', ' ')} at most | {' | '.join(str(getattr(row, name)) for row in TARGETS.values())} |"
        )
    said = [f"* {row.name}: {row.source}." for row in TARGETS.values()]
    formats = ", ".join(sorted(next(iter(TARGETS.values())).formats))
    return "\n".join([*lines, "", f"Formats that are kept: {formats}. The rest is validated.", "", *said])


def main(check: bool) -> int:
    parts = [
        ("architecture.md", "states", states),
        ("operations.md", "settings", settings),
        ("conformance.md", "conformance", conformance),
        ("schemas.md", "targets", targets),
    ]
    suite = module_at(DOCS.parent / "tests" / "schema_suite.py")
    tests = suite.folder()
    if tests is not None and suite.has_documents(tests):
        parts.append(("schemas.md", "suite", lambda: suite.table(list(suite.run(tests)))))
    if RESULTS.exists() and not check:
        parts.append(("performance.md", "performance", performance))
    stale = []
    for name, mark, make in parts:
        path = DOCS / name
        text = path.read_text()
        pattern = rf"(<!-- {mark}: .*? -->\n).*?(<!-- /{mark} -->)"
        fresh = re.sub(pattern, lambda found, make=make: f"{found[1]}{make()}\n{found[2]}", text, flags=re.DOTALL)
        if fresh != text:
            stale.append(name)
            if not check:
                path.write_text(fresh)
    if check and stale:
        print(f"stale: {', '.join(stale)}. Run `python docs/generate.py`.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv))
