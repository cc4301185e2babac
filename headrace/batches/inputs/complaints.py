"""Rows of an input that cannot be used: collected and named together, or by choice skipped, or made error lines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

from headrace.errors import InputError
from headrace.text.quoting import quoted

if TYPE_CHECKING:
    from headrace.batches.media.pages import PdfPage

MAX_NAMED_ERRORS = 100
MAX_ERROR_CHARS = 400
"""Characters of one error message: it may quote the line."""
OnBadRow = Literal["refuse", "error", "skip"]
"""Policy for a row that cannot be used: refuse the whole input, make an error line of it, or leave it out."""
ON_BAD_ROW: tuple[OnBadRow, ...] = get_args(OnBadRow)


class InputRecord(NamedTuple):
    """One record of a source: its number from 1 on, its place (file and line), and its fields. `error` is the reason why it
    cannot be used. Its line's id begins with `prefix`, which tells the files of one input apart; paths in it are read from
    `folder` on, the current one if that is empty. One of several records of a PDF is its `page`, and its id ends in `suffix`."""

    number: int
    where: str
    fields: dict[str, Any]
    error: str | None = None
    prefix: str = ""
    folder: str = ""
    page: PdfPage | None = None
    suffix: str = ""

    @property
    def line_id(self) -> str:
        return f"{self.prefix}line-{self.number}{self.suffix}"


class Complaints:
    """The errors in the lines of one input: all are counted, the first `MAX_NAMED_ERRORS` are named in a single
    `InputError` at the end. With `on_bad_row` "skip" or "error" a row that cannot be used does not stop the others."""

    def __init__(self, source: str = "the input", on_bad_row: OnBadRow = "refuse"):
        if on_bad_row not in ON_BAD_ROW:
            raise InputError(f"on_bad_row={quoted(on_bad_row)}: must be one of {', '.join(ON_BAD_ROW)}")
        self.source = source
        self.on_bad_row = on_bad_row
        self.count = 0
        self.skipped = 0  # items that were left out because they are empty, by choice
        self.bad = 0  # rows that could not be used, and were skipped or made error lines, by choice
        self.first_bad = ""
        self._first: list[str] = []

    def add(self, message: str) -> None:
        self.count += 1
        if len(self._first) < MAX_NAMED_ERRORS:
            self._first.append(cut(message))

    def bad_row(self, number: int, where: str, message: str) -> Iterator[InputRecord]:
        """Yield the record that stands for a row that cannot be read, if there is to be one."""
        if self.on_bad_row == "error":
            yield InputRecord(number, where, {}, cut(message))
        else:
            self.leave_out(message)

    def leave_out(self, message: str) -> None:
        """Note a row that cannot be used, and of which nothing is made."""
        if self.on_bad_row == "refuse":
            self.add(message)
        else:
            self.note(message)

    def note(self, message: str) -> None:
        self.bad += 1
        self.first_bad = self.first_bad or cut(message)

    def check(self) -> None:
        """Raise `InputError` for all errors that were added, if there are any."""
        if self.count > 1:
            more = f"\n  … and {self.count - MAX_NAMED_ERRORS} more" if self.count > MAX_NAMED_ERRORS else ""
            said = "\n  ".join(self._first)
            raise InputError(f"{self.source}: {self.count} of its lines cannot be used:\n  {said}{more}")
        if self.count:
            raise InputError(self._first[0])


class Strict(Complaints):
    """Complaints whose first error is raised at once."""

    def add(self, message: str) -> None:
        raise InputError(message)


def cut(message: str) -> str:
    return message if len(message) <= MAX_ERROR_CHARS else f"{message[:MAX_ERROR_CHARS]} …"
