"""Thousands of images in one batch: they lie in the file store once each, and never in Redis."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from live_files import files_below
from media_files import heavy_png
from stack import Stack

from headrace import Headrace
from headrace.settings import Settings

IMAGE_BYTES = 200_000
MAX_REDIS_BYTES = 64 << 20


@pytest.mark.parametrize("count", [150, pytest.param(2000, marks=pytest.mark.slow)])
def test_images_lie_in_the_store_once_and_never_in_redis(stack: Stack, tmp_path: Path, count: int) -> None:
    for number in range(count):
        (tmp_path / f"{number:04}.png").write_bytes(heavy_png(IMAGE_BYTES))
    store = Path(stack.ready["files"])
    before = bytes_of(store)
    with Headrace(settings=Settings.load(stack.client_environment)) as client:
        batch = client.extract(tmp_path, "Describe it.", model="rehearsal/small", cache=False)
        assert batch.wait(30 + count / 5).succeeded == count
    calls = stack.calls_of(batch.id)
    assert len(calls) == count
    assert min(call.request_bytes for call in calls) > IMAGE_BYTES * 4 / 3
    with contextlib.closing(stack.client) as redis:
        peak = redis.info("memory")["used_memory_peak"]
    assert peak < MAX_REDIS_BYTES
    assert len({call.key for call in calls}) == count, "each call had an image of its own"
    kept = bytes_of(store) - before
    assert count * IMAGE_BYTES < kept < count * (IMAGE_BYTES + 3000)
    print(f"{count} images: Redis {peak >> 20} MiB at most, the store {kept >> 20} MiB")


def bytes_of(folder: Path) -> int:
    """The bytes of all files below `folder`; those with several names count once."""
    found = {}
    for path in files_below(folder):
        with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
            info = path.stat()
            found[info.st_ino] = info.st_size
    return sum(found.values())
