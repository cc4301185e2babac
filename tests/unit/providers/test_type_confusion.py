"""An answer in which a value has another type is a whole answer or a clean failure: nothing unreadable, nothing else raised, and
no side field costs the answer. `make soak` tries 700,000 of them."""

from __future__ import annotations

import os
import random

import pytest
from type_confusion import BASES, Base, check, essence, mutants, outcome, random_mutant

COUNT = int(os.environ.get("CONFUSION_MUTANTS", "30000"))
SEED = int(os.environ.get("CONFUSION_SEED", "17"))


@pytest.mark.parametrize("base", BASES, ids=lambda base: base.name)
def test_every_value_as_every_other_type(base: Base) -> None:
    valid = essence(outcome(base.chunks, base).completion)
    assert valid is not None
    for chunks, changed in mutants(base):
        check(base, chunks, changed, valid)


@pytest.mark.slow
def test_several_values_at_random() -> None:
    draw = random.Random(SEED)
    valid = {base.name: essence(outcome(base.chunks, base).completion) for base in BASES}
    for number in range(COUNT):
        base = draw.choice(BASES)
        chunks, changed = random_mutant(base, draw)
        try:
            check(base, chunks, changed, valid[base.name])
        except Exception as error:
            raise AssertionError(f"mutant {number} of seed {SEED}, {base.name}, {changed}: {chunks}") from error
