"""The index of a batch's answers: each is found by its key, however many there are, and nothing that was changed."""

from __future__ import annotations

import hashlib
from pathlib import Path

import fakeredis
import pytest
from headrace_worker.engine.answer_cache import AnswerCache
from headrace_worker.execution import answer_index
from headrace_worker.execution.answer_index import AnswerIndex, find_lines, packed_keys

from headrace.ledger.script import Ledger
from headrace.storage.local import LocalFileStore


def question(number: int) -> str:
    return hashlib.sha256(b"%d" % number).hexdigest()[:24]


@pytest.fixture
async def cache() -> AnswerCache:
    ledger = Ledger(fakeredis.FakeAsyncRedis(), "hr")
    cache = AnswerCache(ledger, ledger, process="p", ttl_s=60)
    assert await cache.keys("default") is not None
    return cache


def indexed(cache: AnswerCache, store: LocalFileStore, lines: list[bytes]) -> AnswerIndex:
    store.remove("b")
    store.commit("b/output", lines)
    keys = packed_keys({number: question(number) for number in range(len(lines))}, len(lines))
    index, offset = AnswerIndex(cache, "family"), 0
    for number, line in enumerate(lines):
        index.add(keys, number, offset, line)
        offset += len(line)
    return index


def packed(number: int) -> bytes:
    return packed_keys({0: question(number)}, 1)


@pytest.mark.parametrize("count", [1, 255, 256, 257, 3000])
async def test_each_answer_is_found_by_its_key(
    count: int, cache: AnswerCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answer_index, "RUN_ENTRIES", 700)
    store = LocalFileStore(tmp_path)
    lines = [b'{"n":%d}\n' % number for number in range(count)]
    assert indexed(cache, store, lines).write(store, "b/index")
    found = find_lines(cache, store, "b/index", "b/output", [packed(number) for number in range(count + 50)])
    assert found == {packed(number): line for number, line in enumerate(lines)}


async def test_what_was_given_once_already_or_has_no_key_is_not_in_it(cache: AnswerCache, tmp_path: Path) -> None:
    store = LocalFileStore(tmp_path)
    assert not indexed(cache, store, [b'{"cached":true}\n', b'{"cached":true}\n']).write(store, "b/index")
    index = AnswerIndex(cache, "family")
    index.add(b"", 0, 0, b"a line of a shard without keys\n")
    index.add(packed_keys({}, 1), 0, 0, b"a line without a key\n")
    assert not index.write(store, "b/none")


async def test_a_line_that_was_changed_is_no_answer(cache: AnswerCache, tmp_path: Path) -> None:
    store = LocalFileStore(tmp_path)
    assert indexed(cache, store, [b'{"n":1}\n', b'{"n":2}\n']).write(store, "b/index")
    (tmp_path / "b/output").unlink()
    store.commit("b/output", [b'{"n":7}\n', b'{"n":2}\n'])
    assert find_lines(cache, store, "b/index", "b/output", [packed(0), packed(1)]) == {packed(1): b'{"n":2}\n'}


@pytest.mark.parametrize("cut", [0, 5, 16, 40])
async def test_an_index_that_was_cut_has_no_answers(cut: int, cache: AnswerCache, tmp_path: Path) -> None:
    store = LocalFileStore(tmp_path)
    assert indexed(cache, store, [b"1\n", b"2\n"]).write(store, "b/index")
    data = store.read("b/index")
    store.remove("b/index")
    store.commit("b/index", [data[cut + 1 :]])
    assert find_lines(cache, store, "b/index", "b/output", [packed(0), packed(1)]) == {}
