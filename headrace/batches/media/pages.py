"""The pages of a PDF file as items of their own: `--pdf-as pages` (pictures) and `page-texts`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from headrace.batches.inputs.column_choice import ColumnChoice, KeptColumns

MAX_PAGES_OF_FILE = 10_000
PAGE, PAGES = "page", "pages"
"""Fields of an item that is a page: its number from 1 on, and how many the file has."""
MADE = (PAGE, PAGES)


class PdfPage(NamedTuple):
    """A page of a PDF: the bytes of the whole file, and its number from 1 on."""

    data: bytes
    number: int


def of_the_source(choice: ColumnChoice) -> ColumnChoice:
    """Return the choice without the fields that pages have and no source."""
    keep = choice.keep if choice.keep is None else without(choice.keep)
    return choice._replace(prompt=without(choice.prompt), keep=keep)


def without(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(name for name in names if name not in MADE)


def with_pages(kept: KeptColumns | None, keep: tuple[str, ...] | None) -> KeptColumns | None:
    """Return the columns that rows keep with those that pages have, as far as they are kept too: numbers."""
    own = [name for name in MADE if keep is None or name in keep]
    if not own or (kept is not None and kept.names is None):
        return kept
    names = [name for name in own if kept is None or name not in (kept.names or ())]
    kept = kept or KeptColumns([])
    types = kept.types
    if types:
        from headrace.batches.arrow_library import arrow

        pa = arrow("the input")
        schema = pa.ipc.read_schema(pa.py_buffer(types))
        types = pa.schema([*schema, *((name, pa.int64()) for name in names)]).serialize().to_pybytes()
    return msgspec.structs.replace(kept, names=[*(kept.names or ()), *names], types=types)
