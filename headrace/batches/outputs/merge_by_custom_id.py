"""Merge files with a line an item, such as `output` and `errors`, by custom_id: each has the order of a batch's input, and so has
the whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

import msgspec

T = TypeVar("T")


class _Named(msgspec.Struct):
    custom_id: str


_decode = msgspec.json.Decoder(_Named).decode


def custom_id_of(line: bytes) -> str:
    """Return the custom_id of an input or output line."""
    return _decode(line).custom_id


def merge_by_custom_id(
    inputs: Iterable[bytes], *files: Iterable[tuple[str, T]]
) -> Iterator[tuple[bytes, int | None, T | None]]:
    """Yield each line of `inputs` with the number of the file that has its item, and the item there; None twice where none has.

    `files` yield pairs of a custom_id and an item. One pass over each is enough, and one item of each is held.
    """
    readers = [iter(file) for file in files]
    heads = [next(reader, None) for reader in readers]
    for line in inputs:
        name = custom_id_of(line)
        for number, head in enumerate(heads):
            if head is not None and head[0] == name:
                heads[number] = next(readers[number], None)
                yield line, number, head[1]
                break
        else:
            yield line, None, None
