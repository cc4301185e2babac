"""Every statement and every defect has its test."""

from __future__ import annotations

import importlib.util
from pathlib import Path

FOLDER = Path(__file__).parent
spec = importlib.util.spec_from_file_location("conformance", FOLDER / "conformance.py")
assert spec
assert spec.loader
conformance = importlib.util.module_from_spec(spec)
spec.loader.exec_module(conformance)


def test_every_statement_and_every_defect_has_a_test() -> None:
    named = {number for _, test, _ in conformance.tests(FOLDER) for number in conformance.numbers(test)}
    assert [number for number in conformance.STATEMENTS if ("c", number) not in named] == []
    assert [
        number
        for number in conformance.DEFECTS
        if ("d", number) not in named
        and not all(("c", each) in named for each in conformance.COVERED_BY.get(number, (0,)))
    ] == []
