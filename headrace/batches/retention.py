"""Which batches' files are past their retention: those of batches that ended long enough ago, and those of which no record is
left. Never those of an open batch."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from headrace.jobs.build import MAX_WINDOW_S
from headrace.ledger.batch_list import KnownEnd, batch_ends
from headrace.ledger.script import Ledger
from headrace.storage.batch_folders import BatchFolder, batch_folders, top_folders, usage_below
from headrace.storage.blobs import FOLDER as BLOBS
from headrace.storage.blobs import unused_blobs
from headrace.storage.file_store import FileStore

GROUP = 200
UNUSED_S = 3600.0
"""Age at which a blob that no batch refers to is nobody's: longer than any batch takes to be opened."""
MAX_UNFINISHED_S = MAX_WINDOW_S + 24 * 3600.0
"""Age up to which files without a record and without results may be those of an open batch of another ledger: no batch is
open for longer."""
Why = Literal["ended", "no record", "unused"]


class Prunable(msgspec.Struct, frozen=True):
    """What is past its retention: the files of a batch, or the blobs that nobody refers to. `since_ms` is when the batch ended,
    or was last written."""

    name: str
    why: Why
    since_ms: int
    files: int
    bytes: int


class KindUsage(msgspec.Struct, frozen=True):
    """What lies in the file store, of one kind."""

    kind: str
    files: int
    bytes: int
    batches: int | None = None


async def past_retention(ledger: Ledger, store: FileStore, keep_s: float, most: int = 1_000_000) -> list[Prunable]:
    """Return at most `most` batches whose files have been kept for `keep_s` seconds, oldest first."""
    before_s = time.time() - keep_s
    old = await asyncio.to_thread(lambda: sorted(batch_folders(store, before_s), key=lambda folder: folder.written_s))
    found: list[Prunable] = []
    for first in range(0, len(old), GROUP):
        group = old[first : first + GROUP]
        ends = await batch_ends(ledger, [folder.batch_id for folder in group])
        over = [(folder, since) for folder in group if (since := _over_since(folder, ends, before_s)) is not None]
        found += await asyncio.to_thread(_described, store, over[: most - len(found)], ends)
        if len(found) >= most:
            break
    return found


async def prune(ledger: Ledger, store: FileStore, batch_ids: Sequence[str], keep_s: float) -> int:
    """Remove the files of those of `batch_ids` that are still past their retention; return of how many that were."""
    before_s, removed = time.time() - keep_s, 0
    for first in range(0, len(batch_ids), GROUP):
        wanted = set(batch_ids[first : first + GROUP])
        ends = await batch_ends(ledger, sorted(wanted))
        folders = await asyncio.to_thread(lambda: list(batch_folders(store, before_s)))
        gone = [
            folder.batch_id
            for folder in folders
            if folder.batch_id in wanted and _over_since(folder, ends, before_s) is not None
        ]
        await asyncio.to_thread(_remove_all, store, gone)
        removed += len(gone)
    return removed


def prune_blobs(store: FileStore, age_s: float = UNUSED_S, *, dry: bool = False) -> Prunable | None:
    """Remove the blobs that no batch has referred to for `age_s` seconds, or only count them; None where there are none."""
    files = size = 0
    for name, length in unused_blobs(store, age_s):
        if not dry:
            store.remove(name)
        files, size = files + 1, size + length
    return Prunable(BLOBS, "unused", int((time.time() - age_s) * 1000), files, size) if files else None


async def usage(ledger: Ledger, store: FileStore) -> list[KindUsage]:
    """Return what lies in the store: batches by what is known of them, and everything else by its folder."""
    folders = await asyncio.to_thread(lambda: list(batch_folders(store)))
    ends: dict[str, KnownEnd] = {}
    for first in range(0, len(folders), GROUP):
        ends |= await batch_ends(ledger, [folder.batch_id for folder in folders[first : first + GROUP]])

    def kind(folder: BatchFolder) -> str:
        if folder.batch_id not in ends:
            return "batches without a record"
        return "open batches" if ends[folder.batch_id].ended_ms is None else "batches that have ended"

    names = ("open batches", "batches that have ended", "batches without a record")
    groups = {name: [folder.batch_id for folder in folders if kind(folder) == name] for name in names}
    found = [await asyncio.to_thread(_summed, store, name, group, len(group)) for name, group in groups.items()]
    others = [await asyncio.to_thread(_summed, store, name, [name], None) for name in top_folders(store)]
    return [*found, *others]


def _over_since(folder: BatchFolder, ends: dict[str, KnownEnd], before_s: float) -> float | None:
    """Return since when a batch is over, if that is before `before_s`; None for any other."""
    end = ends.get(folder.batch_id)
    if end is not None:
        return end.ended_ms / 1000 if end.ended_ms is not None and end.ended_ms / 1000 < before_s else None
    if not folder.has_output and folder.written_s > time.time() - MAX_UNFINISHED_S:
        return None
    return folder.written_s


def _described(
    store: FileStore, over: Iterable[tuple[BatchFolder, float]], ends: dict[str, KnownEnd]
) -> list[Prunable]:
    found = []
    for folder, since_s in over:
        why: Why = "ended" if folder.batch_id in ends else "no record"
        found.append(Prunable(folder.batch_id, why, int(since_s * 1000), *usage_below(store, folder.batch_id)))
    return found


def _summed(store: FileStore, kind: str, names: Iterable[str], batches: int | None) -> KindUsage:
    each = [usage_below(store, name) for name in names]
    return KindUsage(kind, sum(one.files for one in each), sum(one.bytes for one in each), batches)


def _remove_all(store: FileStore, names: Iterable[str]) -> None:
    for name in names:
        store.remove(name)
