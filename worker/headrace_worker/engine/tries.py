"""The tries of a job, or of each item of a shard, and the one form in which the ledger keeps them (the field `calls`)."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class Tries(msgspec.Struct):
    """The tries so far: `calls` numbers every deliberate call, `spent` counts those that use up the budget. `calling` says that
    one is under way just now."""

    calls: int = 0
    spent: int = 0
    calling: bool = False

    @classmethod
    def parse(cls, text: str) -> Tries:
        """Return the tries in `3:1`; none in an empty text. Raises `ValueError`."""
        calls, _, spent = text.partition(":")
        return cls(int(calls or 0), int(spent or 0))

    def __str__(self) -> str:
        return f"{self.calls}:{self.spent}"


def parse_item_tries(text: str) -> dict[int, Tries]:
    """Return the tries of a shard's items, by their place in it, in `4=3:1 7=1:0`. Raises `ValueError`."""
    entries = (entry.partition("=") for entry in text.split())
    return {int(index): Tries.parse(tries) for index, _, tries in entries}


def format_item_tries(items: Mapping[int, Tries]) -> str:
    """Return the text that `parse_item_tries` parses, without the items that were never called for."""
    return " ".join(f"{index}={tries}" for index, tries in items.items() if tries.calls)
