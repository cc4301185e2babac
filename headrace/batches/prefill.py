"""The index of the lines that a retry takes over from an earlier batch: for each line of the input, the place of its output
line.

The index `prefill.index` has 16 bytes an input line: offset and length, 8 bytes each, little-endian; zero where the line is
run again. The two highest bits of the length are the kind: a success, from `prefill.jsonl`, or one of three kinds of
failure, from `prefill.errors.jsonl`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Container, Iterable, Iterator
from functools import partial
from typing import NamedTuple

import msgspec

from headrace.batches.outputs.merge_by_custom_id import custom_id_of, merge_by_custom_id
from headrace.batches.row_codec import LinePointer
from headrace.errors import CODES, InputError
from headrace.storage.file_store import FileStore
from headrace.text.quoting import quoted

ENTRY_BYTES = 16
KINDS = "sfcd"
"""Kinds of a line, by their number in the index: succeeded, failed, cancelled, dead."""
KIND_OF_CODE = {"worker_lost": "d", "batch_cancelled": "c", "batch_expired": "c"}
LENGTH_BITS = 62
SUCCESSES, FAILURES, INDEX = "prefill.jsonl", "prefill.errors.jsonl", "prefill.index"


class KeptLine(NamedTuple):
    """A line that is taken over from an earlier batch: its kind, and its place in the file of that kind."""

    kind: str
    offset: int
    length: int

    @property
    def file(self) -> str:
        return SUCCESSES if self.kind == "s" else FAILURES

    def pack(self) -> bytes:
        number = KINDS.index(self.kind) << LENGTH_BITS | self.length
        return self.offset.to_bytes(8, "little") + number.to_bytes(8, "little")


class _Error(msgspec.Struct, frozen=True):
    code: str = ""


class _ErrorLine(msgspec.Struct):
    error: _Error = _Error()


def code_of(line: bytes) -> str:
    """Return the code of an error line."""
    return msgspec.json.decode(line, type=_ErrorLine).error.code


def checked_codes(codes: Collection[str]) -> frozenset[str]:
    """Return `codes` if each is the code of a failure. Raises `InputError` with the list of those there are."""
    if isinstance(codes, str):
        raise InputError(f"codes={quoted(codes)}: must be a list of codes")
    for code in codes:
        if code not in CODES:
            raise InputError(f"{quoted(code)} is no code of a failure. There are: {', '.join(sorted(CODES))}")
    if not codes:
        raise InputError("no code was given: name one, or leave the choice out to run all that did not succeed")
    return frozenset(codes)


def choose(errors: Iterable[bytes], codes: frozenset[str], batch_id: str) -> None:
    """Raise `InputError` when none of the lines `errors` failed with one of `codes`."""
    found = Counter(code_of(line) for line in errors)
    if not codes & found.keys():
        there = ", ".join(f"{count} {code}" for code, count in found.most_common()) or "nothing that failed"
        raise InputError(f"{batch_id} has no item that failed with {', '.join(sorted(codes))}; it has {there}")


def index_prefill(
    store: FileStore, batch_id: str, codes: frozenset[str] | None = None, again: Container[int] = ()
) -> None:
    """Write the index of the lines that are taken over: all successes, and with `codes` the failures with any other code,
    but for the lines (from 0) in `again`.

    All files are in input order, so one pass over each is enough.
    """

    def entries() -> Iterator[bytes]:
        files = [_placed(store.lines(f"{batch_id}/{SUCCESSES}"), lambda line: "s")]
        if codes is not None:
            files.append(_placed(store.lines(f"{batch_id}/{FAILURES}"), partial(_kept_kind, codes)))
        ordered = merge_by_custom_id(store.lines(f"{batch_id}/input.jsonl"), *files)
        for number, (_, _, kept) in enumerate(ordered):
            yield kept.pack() if kept is not None and number not in again else bytes(ENTRY_BYTES)

    store.commit(f"{batch_id}/{INDEX}", entries())


def _kept_kind(codes: frozenset[str], line: bytes) -> str | None:
    code = code_of(line)
    return None if code in codes else KIND_OF_CODE.get(code, "f")


def _placed(lines: Iterable[bytes], kind_of: Callable[[bytes], str | None]) -> Iterator[tuple[str, KeptLine | None]]:
    """Yield for each line its custom_id, and the position of its row if that is kept."""
    offset = 0
    for line in lines:
        kind = kind_of(line)
        yield custom_id_of(line), None if kind is None else KeptLine(kind, offset, len(line.rstrip(b"\n")))
        offset += len(line)


def kept_rows(
    store: FileStore, batch_id: str, first: int, count: int
) -> tuple[list[tuple[int, bytes]], dict[int, str]]:
    """Return the rows that an earlier batch has of `count` lines from `first` on, by their number among these, and the
    codes of those that failed. A row says where its line lies."""
    index = store.read(f"{batch_id}/{INDEX}", first * ENTRY_BYTES, count * ENTRY_BYTES)
    rows, codes = [], {}
    for number, line in kept(index):
        file = f"{batch_id}/{line.file}"
        rows.append((number, line.kind.upper().encode() + LinePointer(file, line.offset, line.length).encode()))
        if line.kind != "s":
            codes[number] = code_of(store.read(file, line.offset, line.length))
    return rows, codes


def kept(index: bytes) -> Iterator[tuple[int, KeptLine]]:
    """Yield the lines that are kept, each with its number in this piece of an index."""
    for number, at in enumerate(range(0, len(index), ENTRY_BYTES)):
        word = int.from_bytes(index[at + 8 : at + 16], "little")
        length = word & ((1 << LENGTH_BITS) - 1)
        if length:
            yield number, KeptLine(KINDS[word >> LENGTH_BITS], int.from_bytes(index[at : at + 8], "little"), length)
