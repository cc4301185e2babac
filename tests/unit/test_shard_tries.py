"""The form in which the ledger keeps the tries of a shard's items."""

from __future__ import annotations

import pytest
from headrace_worker.engine.tries import Tries, format_item_tries, parse_item_tries
from hypothesis import given
from hypothesis import strategies as st

COUNTS = st.integers(0, 10**6)
ITEMS = st.dictionaries(COUNTS, st.builds(Tries, calls=COUNTS, spent=COUNTS), max_size=64)


@given(ITEMS)
def test_tries_round_trip(items: dict[int, Tries]) -> None:
    called = {index: tries for index, tries in items.items() if tries.calls}
    assert parse_item_tries(format_item_tries(items)) == called


def test_the_stored_form() -> None:
    assert format_item_tries({4: Tries(3, 1), 5: Tries(), 7: Tries(1)}) == "4=3:1 7=1:0"
    assert parse_item_tries("") == {}


@pytest.mark.parametrize("text", ["x", "4=x", "4=1:x"])
def test_another_form_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        parse_item_tries(text)
