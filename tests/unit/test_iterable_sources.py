"""What gives its items one by one is taken; what only looks so is refused by name, before anything is paid."""

from __future__ import annotations

import codecs
import fileinput
import sqlite3
from array import array
from collections import deque, namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headrace.batches.inputs.sources import checked_items
from headrace.errors import InputError

Row = namedtuple("Row", "text label")
TAKEN: dict[str, Callable[[], Any]] = {
    "a list": lambda: ["a", "b"],
    "a tuple": lambda: ("a", "b"),
    "a generator": lambda: (word for word in "ab"),
    "an iterator": lambda: iter(["a", "b"]),
    "a deque": lambda: deque(["a", "b"]),
    "values": lambda: {1: "a", 2: "b"}.values(),
    "a range's words": lambda: map(str, range(2)),
}
REFUSED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "an array": (lambda _: array("u", "abc"), "array"),
    "an open file": (lambda path: path.open(), "open file"),
    "an open file with a codec": (lambda path: codecs.open(str(path), encoding="utf-8"), "open file"),  # noqa: SIM115
    "files one after another": (lambda path: fileinput.input([str(path)]), "open file"),  # noqa: SIM115
    "one record": (lambda _: Row("a", "b"), "_asdict"),
    "a cursor": (lambda _: sqlite3.connect(":memory:").execute("select 1"), "cursor"),
}


@pytest.mark.parametrize("what", TAKEN)
def test_accepts_iterables_of_items(what: str) -> None:
    source = TAKEN[what]()
    assert checked_items(source, "items", "texts") is source


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("what", REFUSED)
def test_refuses_other_iterables_by_name(what: str, tmp_path: Path) -> None:
    make, said = REFUSED[what]
    (tmp_path / "in.txt").write_text("a\nb\n")
    source = make(tmp_path / "in.txt")
    try:
        with pytest.raises(InputError, match=said) as refused:
            checked_items(source, "items", "texts")
        assert type(source).__name__ in str(refused.value)
    finally:
        if hasattr(source, "close"):
            source.close()
