"""The JSON-Schema-Test-Suite as a judge of lowering: schemas and labelled cases that nobody here wrote.

The data lies beside the project (`../shared/data`), or where `HEADRACE_TEST_DATA` says. `run()` judges all of it; `table()`
is what `docs/schemas.md` shows of it.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jsonschema_rs

from headrace.errors import InvalidOutput, SchemaError
from headrace.schema import Lowered, bundle, lower

NAME = "json-schema-test-suite"
DRAFTS = {"draft2020-12": None, "draft7": "http://json-schema.org/draft-07/schema#"}
"""The folders, and what `$schema` is where a schema of theirs does not say."""


REMOTES = "http://localhost:1234/"
"""Where the suite says that the documents lie that its schemas refer to."""

MISSING = ("a reference leads out of the schema", "an unknown `$schema`")


class Verdict(NamedTuple):
    """One schema of the suite. `refused` is the reason, None when it is carried; `wrong` are cases that were judged
    otherwise than they are labelled, `lost` valid ones that did not come back, or whose wire form was not valid."""

    draft: str
    keyword: str
    name: str
    cases: int
    refused: str | None
    wrong: list[str]
    lost: list[str]


def folder() -> Path | None:
    """Where the suite is; None where it is not."""
    given = os.environ.get("HEADRACE_TEST_DATA")
    roots = [Path(given)] if given else [Path(__file__).parents[3] / "shared" / "data"]
    return next((root / NAME / "tests" for root in roots if (root / NAME / "tests").is_dir()), None)


def run(tests: Path) -> Iterator[Verdict]:
    remotes = documents(tests)
    for draft, keyword, group, schema in groups(tests):
        yield judged(draft, keyword, group["description"], schema, group["tests"], remotes)


def documents(tests: Path) -> dict[str, Any]:
    """The documents that schemas of the suite refer to, by URI. They lie in `remotes`, beside the tests."""
    folder = tests.parent / "remotes"
    return {
        REMOTES + path.relative_to(folder).as_posix(): json.loads(path.read_text()) for path in folder.rglob("*.json")
    }


def has_documents(tests: Path) -> bool:
    """Whether the documents lie there: older copies of the suite's data have none but `integer.json`."""
    return (tests.parent / "remotes" / "draft2020-12").is_dir()


def groups(tests: Path) -> Iterator[tuple[str, str, dict[str, Any], Any]]:
    """Draft, keyword, and each schema with its cases; the schema says its draft."""
    for draft, version in DRAFTS.items():
        for path in sorted((tests / draft).glob("*.json")):
            for group in json.loads(path.read_text()):
                schema = group["schema"]
                if isinstance(schema, dict) and version:
                    schema = {"$schema": version, **schema}
                yield draft, path.stem, group, schema


def compile_times_ms(tests: Path) -> Iterator[float]:
    """The CPU time that lowering takes, schema by schema, with nothing kept from before."""
    remotes = documents(tests)
    for number, (_, _, _, schema) in enumerate(groups(tests)):
        fresh = {"$comment": f"{number}", **schema} if isinstance(schema, dict) else schema
        began = time.process_time()
        with contextlib.suppress(SchemaError):
            lower(bundle(fresh, remotes) if isinstance(fresh, dict) else fresh)
        yield (time.process_time() - began) * 1000


def judged(
    draft: str, keyword: str, name: str, schema: Any, cases: list[dict[str, Any]], remotes: dict[str, Any]
) -> Verdict:
    try:
        lowered = lower(bundle(schema, remotes) if isinstance(schema, dict) else schema)
    except SchemaError as error:
        refused = f"{error.pointer or '/'}: {error.keyword}: {error}"
        return Verdict(draft, keyword, name, len(cases), refused, [], [])
    validator = jsonschema_rs.Draft202012Validator(lowered.wire)
    wrong, lost = [], []
    for case in cases:
        if is_valid(lowered, case["data"]) is not case["valid"]:
            wrong.append(case["description"])
        if case["valid"] and not comes_back(lowered, validator, case["data"]):
            lost.append(case["description"])
    return Verdict(draft, keyword, name, len(cases), None, wrong, lost)


def is_valid(lowered: Lowered, data: Any) -> bool:
    try:
        lowered.validate(data)
    except InvalidOutput:
        return False
    return True


def comes_back(lowered: Lowered, validator: jsonschema_rs.Validator, data: Any) -> bool:
    try:
        answer = json.dumps(lowered.lift(data))
        return validator.is_valid(json.loads(answer)) and lowered.restore(answer) == data
    except InvalidOutput:
        return False


def table(verdicts: list[Verdict]) -> str:
    """Keyword by keyword, what became of the suite."""
    rows: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        rows.setdefault(verdict.keyword, []).append(verdict)
    lines = [
        "| keyword | schemas | carried | cases judged right | came back | refused because |",
        "|---|---|---|---|---|---|",
    ]
    for keyword, found in sorted(rows.items(), key=lambda row: row[0].lower()):
        carried = [verdict for verdict in found if verdict.refused is None]
        cases = sum(verdict.cases for verdict in carried)
        right = cases - sum(len(verdict.wrong) for verdict in carried)
        back = "all" if not any(verdict.lost for verdict in carried) else "**no**"
        reasons = ", ".join(sorted({reason(verdict.refused) for verdict in found if verdict.refused}))
        lines.append(f"| {keyword} | {len(found)} | {len(carried)} | {right} of {cases} | {back} | {reasons} |")
    carried = sum(verdict.refused is None for verdict in verdicts)
    whole = [verdict for verdict in verdicts if is_whole(verdict)]
    cases = sum(verdict.cases for verdict in verdicts if verdict.refused is None)
    right = cases - sum(len(verdict.wrong) for verdict in verdicts)
    lines.append(f"| **all** | {len(verdicts)} | {carried} ({carried / len(verdicts):.1%}) | {right} of {cases} | | |")
    lines.append(f"| **whole** | {len(whole)} | {carried} ({carried / len(whole):.1%}) | | | |")
    return "\n".join(lines)


def is_whole(verdict: Verdict) -> bool:
    """Whether all that a schema means is at hand: nothing is fetched."""
    return verdict.refused is None or reason(verdict.refused) not in MISSING


def reason(refused: str) -> str:
    for words, short in (
        ("no document of that name", "a reference leads out of the schema"),
        ("nothing is valid", "nothing is valid under it"),
        ("no known version", "an unknown `$schema`"),
    ):
        if words in refused:
            return short
    return "other"
