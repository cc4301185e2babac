"""The index of the answers in a batch's output: by the key of a question, where its line begins.

Entries of 26 bytes, in the order of their keys: the first 12 bytes of the key, 6 bytes of offset, 8 bytes of a signature of the
line. Behind them stands the key of every 256th entry, and at the end a mark and the number of entries. So a look-up reads 6 KiB,
however many answers there are, and what was changed or cut is no answer.
"""

from __future__ import annotations

import base64
import heapq
import tempfile
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import IO, BinaryIO

from headrace.errors import StorageError
from headrace.logs import get_logger
from headrace.storage.file_store import FileStore
from headrace_worker.engine.answer_cache import AnswerCache

log = get_logger("headrace.worker.execution.answer_index")

KEY_BYTES, OFFSET_BYTES, SEAL_BYTES = 12, 6, 8
KEY_CHARS = KEY_BYTES * 4 // 3
ENTRY_BYTES = KEY_BYTES + OFFSET_BYTES + SEAL_BYTES
NO_KEY = bytes(KEY_BYTES)
BLOCK_ENTRIES = 256
RUN_ENTRIES = 65_536
"""Entries that are sorted in memory; more are merged from a temporary file, so that a batch of any size takes as little."""
MARK = b"answers1"
END_BYTES = len(MARK) + 8
CACHED = b'"cached":true'


def packed_key(key: str) -> bytes:
    """Return the bytes by which a question is found."""
    return base64.urlsafe_b64decode(key[:KEY_CHARS])


def packed_keys(keys: Mapping[int, str], count: int) -> bytes:
    """Return the keys of a shard's `count` items, zero for those that are not to be found."""
    return b"".join(packed_key(keys[index]) if index in keys else NO_KEY for index in range(count))


def keys_file(part: str) -> str:
    """Return the file with the keys of a part's items."""
    return f"{part}.keys"


def keys_of_part(store: FileStore, part: str) -> bytes:
    """Return what `packed_keys` made for a part; empty where nobody kept it."""
    with suppress(StorageError):
        return store.read(keys_file(part))
    return b""


class AnswerIndex:
    """An index that is being written, of the `family` of questions that the batch's template asks."""

    def __init__(self, cache: AnswerCache, family: str):
        self.family = family
        self._cache = cache
        self._entries: list[bytes] = []
        self._runs: list[int] = []  # their numbers of entries
        self._file: IO[bytes] | None = None

    def add(self, keys: bytes, index: int, offset: int, line: bytes) -> None:
        """Add the line of a shard's item, if the shard's `keys` have one for it and its answer was paid for it."""
        key = keys[index * KEY_BYTES : (index + 1) * KEY_BYTES]
        if len(key) < KEY_BYTES or key == NO_KEY or CACHED in line:
            return
        self._entries.append(key + offset.to_bytes(OFFSET_BYTES, "big") + seal(self._cache, key, line))
        if len(self._entries) >= RUN_ENTRIES:
            self._spill()

    def _spill(self) -> None:
        self._entries.sort()
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile()  # noqa: SIM115 (closed by `write`)
            self._file.seek(0, 2)
            self._file.write(b"".join(self._entries))
            self._file.flush()
            self._runs.append(len(self._entries))
        except OSError as error:  # no room there: these answers are paid again, nothing else
            log.warning("answers are not indexed", answers=len(self._entries), error=type(error).__name__)
        self._entries = []

    def write(self, store: FileStore, name: str) -> bool:
        """Write the index as a file. Return False where there is nothing to be found, or no room for it."""
        if not self._entries and not self._runs:
            return False
        self._entries.sort()
        count, fences = 0, bytearray()
        try:
            store.remove(name)  # of a first try of the same join
            with store.writer(name, durable=False) as file:
                for entry in heapq.merge(*self._spilt(), self._entries):
                    if count % BLOCK_ENTRIES == 0:
                        fences += entry[:KEY_BYTES]
                    file.write(entry)
                    count += 1
                file.write(bytes(fences) + MARK + count.to_bytes(8, "big"))
        except (StorageError, OSError) as error:
            log.warning("answers are not indexed", answers=count, error=type(error).__name__)
            return False
        finally:
            if self._file is not None:
                self._file.close()
        return True

    def _spilt(self) -> Iterator[Iterator[bytes]]:
        begin = 0
        for count in self._runs:
            yield self._run(begin, begin + count * ENTRY_BYTES)
            begin += count * ENTRY_BYTES

    def _run(self, begin: int, end: int) -> Iterator[bytes]:
        assert self._file is not None
        step = 1024 * ENTRY_BYTES
        for at in range(begin, end, step):
            self._file.seek(at)
            yield from entries_in(self._file.read(min(step, end - at)))


def seal(cache: AnswerCache, key: bytes, line: bytes) -> bytes:
    return cache.seal(key.hex(), line.rstrip(b"\n"))[:SEAL_BYTES]


def entries_in(data: bytes) -> Iterator[bytes]:
    return (data[at : at + ENTRY_BYTES] for at in range(0, len(data), ENTRY_BYTES))


def find_lines(
    cache: AnswerCache, store: FileStore, index: str, output: str, keys: Iterable[bytes]
) -> dict[bytes, bytes]:
    """Return the lines of `output` that answer questions, by their keys. Raises `StorageError` where a file is gone."""
    with store.open(index) as file:
        places = _places(file, sorted(keys))
    lines: dict[bytes, bytes] = {}
    if places:
        with store.open(output) as file:
            for offset, key, sealed in sorted(places):
                file.seek(offset)
                line = file.readline()
                if seal(cache, key, line) == sealed:
                    lines[key] = line
    return lines


def _places(file: BinaryIO, keys: list[bytes]) -> list[tuple[int, bytes, bytes]]:
    """Return the offset and the signature of each line that the index has for one of these keys."""
    size = file.seek(0, 2)
    if size < END_BYTES:
        return []
    file.seek(size - END_BYTES)
    end = file.read(END_BYTES)
    count = int.from_bytes(end[len(MARK) :], "big")
    blocks = -(-count // BLOCK_ENTRIES)
    if end[: len(MARK)] != MARK or size != count * ENTRY_BYTES + blocks * KEY_BYTES + END_BYTES:
        return []
    file.seek(count * ENTRY_BYTES)
    fences = file.read(blocks * KEY_BYTES)
    places: list[tuple[int, bytes, bytes]] = []
    block, entries = -1, dict[bytes, bytes]()
    for key in keys:
        wanted = bisect_right(range(blocks), key, key=lambda n: fences[n * KEY_BYTES : (n + 1) * KEY_BYTES]) - 1
        if wanted < 0:
            continue
        if wanted != block:
            block = wanted
            file.seek(block * BLOCK_ENTRIES * ENTRY_BYTES)
            data = file.read(min(BLOCK_ENTRIES, count - block * BLOCK_ENTRIES) * ENTRY_BYTES)
            entries = {entry[:KEY_BYTES]: entry[KEY_BYTES:] for entry in entries_in(data)}
        if (entry := entries.get(key)) is not None:
            places.append((int.from_bytes(entry[:OFFSET_BYTES], "big"), key, entry[OFFSET_BYTES:]))
    return places
