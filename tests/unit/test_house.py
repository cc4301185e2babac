"""The bounds of the house: what a newcomer can take in at once stays that small."""

from __future__ import annotations

import ast
import collections
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("headrace", "providers", "worker", "api", "rehearsal")
MAX_ENTRIES = 26
MAX_LAYERS = 9
MAX_LINES = 400


def sources(*suffixes: str) -> list[Path]:
    return [
        path
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*"))
        if path.suffix in suffixes and "__pycache__" not in path.parts
    ]


def test_the_core_has_few_entries_and_few_layers():
    entries = {path.name for path in (ROOT / "headrace").iterdir() if path.name != "__pycache__"}
    assert len(entries) <= MAX_ENTRIES, entries
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layered,) = (contract for contract in contracts if contract["type"] == "layers")
    assert len(layered["layers"]) <= MAX_LAYERS
    assert layered["exhaustive"], "a new package has to take its place"


def test_no_file_is_long():
    lines = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in sources(".py", ".lua", ".js")}
    assert len(lines) > 300
    assert {name: count for name, count in lines.items() if count > MAX_LINES} == {}


def test_no_two_classes_have_one_name():
    places = collections.defaultdict[str, list[str]](list)
    for path in sources(".py"):
        for node in ast.parse(path.read_bytes()).body:
            if isinstance(node, ast.ClassDef):
                places[node.name].append(str(path.relative_to(ROOT)))
    assert {name: files for name, files in places.items() if len(files) > 1} == {}


def test_bounds_are_called_max_and_min():
    named = re.compile(r"^ *((?:MOST|LONGEST|LEAST)_\w+)\b", re.MULTILINE)
    assert {path.name: found for path in sources(".py") if (found := named.findall(path.read_text()))} == {}
