"""The items of a batch, read from a source by a caller's words: which columns are the prompt's, the ids, kept, media or parts of
a request, and what becomes of rows that cannot be used."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from headrace.batches.ingest import read_items
from headrace.batches.inputs import sources
from headrace.batches.inputs.column_choice import ColumnChoice
from headrace.batches.inputs.complaints import Complaints
from headrace.batches.inputs.per_item import PerItem, checked_per_item
from headrace.batches.inputs.request_parts import RequestParts
from headrace.batches.media.choice import FILE_FIELD, MediaChoice
from headrace.batches.media.made_pictures import MadePictures
from headrace.batches.media.media_files import is_media_source
from headrace.batches.media.pages import of_the_source, with_pages
from headrace.batches.media.reader import MediaReader
from headrace.batches.media.references import Blob
from headrace.batches.prompt import DEFAULT_PROMPT
from headrace.batches.template import Item, Template
from headrace.errors import InputError
from headrace.text.object_urls import OBJECT_URL

if TYPE_CHECKING:
    from headrace.batches.inputs.object_inputs import CopiedInputs, ObjectAddress

WORDS = ("limit", "sample", "encoding", "id", "keep", "follow", "on_bad_row", "on_empty", "per_item")
MEDIA_WORDS = ("images", "recordings", "pdfs", "image_size", "pdf_as", "fetch")
PROMPT_NAMES = ("prompt", "system", "messages")


class Reading:
    """One way to read one source. Its `template` is that of the batch, with the columns that rows keep; `complaints` are those of
    the last time that it was read. Raises `InputError` for what cannot be read so."""

    def __init__(
        self,
        source: Any,
        template: Template,
        *,
        prompt: str = DEFAULT_PROMPT,
        system: str | None = None,
        messages: Any = None,
        language: str | None = None,
        names: tuple[str, str, str] = PROMPT_NAMES,
        limit: int | None = None,
        sample: int | None = None,
        encoding: str | None = None,
        id: str | None = None,
        keep: Any = None,
        follow: bool = False,
        on_bad_row: Any = "refuse",
        on_empty: Any = "refuse",
        per_item: Any = None,
        folder: str | None = None,
        shown: str | None = None,
        reads_again: bool = False,
        **media: Any,
    ):
        """`prompt`, `system` and `messages` are used where their `language` is Jinja, and called `names` in complaints; `folder`
        is where paths lead from, of a file its own unless given; the input is called `shown`. What is made of images is kept
        where the caller `reads_again`."""
        self.name = shown or (str(source) if isinstance(source, str | Path) else "the input")
        self._copies = copies_of(source)
        if self._copies is not None:
            source = self._copies.paths[0] if len(self._copies.paths) == 1 else self._copies.paths
        self._source = sources.once(source)
        self._limits = {"limit": limit, "sample": sample}
        self._reading: dict[str, Any] = {"encoding": encoding, "follow": follow}
        self._on_bad_row = on_bad_row
        self._folder = folder
        self.complaints = Complaints(self.name, on_bad_row)
        chosen = MediaChoice.of(**media)
        if is_media_source(sources.paths_of(self._source)):
            chosen = chosen._replace(files=(FILE_FIELD,))
        jinja = None
        if language is not None:
            try:
                from headrace.batches.jinja_prompt import JinjaPrompt
            except ImportError as error:
                raise InputError(
                    f"template='jinja' (--template jinja): this needs Jinja ({error}): pip install 'headrace[jinja]'"
                ) from None
            jinja = JinjaPrompt(prompt, system, messages, names)
        own = checked_per_item(per_item)
        models = (template.model, *template.fallbacks)
        made = MadePictures() if reads_again else None
        self._media = MediaReader(chosen, models=models, follow=follow, made=made) if chosen.columns else None
        self._has_pages = self._media is not None and chosen.by_page
        self._parts = RequestParts(
            template,
            on_empty,
            jinja=jinja,
            per_item=PerItem(own, template, reads_all=limit is None and sample is None) if own else None,
            media=self._media,
        )
        self._choice = ColumnChoice.of(self._parts.needed, id, keep, also=self._parts.also, media=chosen.columns)
        self._of_source = of_the_source(self._choice) if self._has_pages else self._choice
        with self._named():
            kept = sources.kept_columns(self._source, self._of_source, **self._reading)
        if self._has_pages:
            kept = with_pages(kept, self._choice.keep)
        self.template = msgspec.structs.replace(template, kept=kept)

    def items(self) -> Iterator[Item | Blob]:
        """Yield the items, each after the blobs that it refers to, as `ingest.read_items` does."""
        self.complaints = complaints = Complaints(self.name, self._on_bad_row)
        records = sources.records(self._source, complaints=complaints, choice=self._of_source, **self._reading)
        if self._folder is not None:
            folder = self._folder
            records = (record._replace(folder=folder) for record in records)
        if self._has_pages and self._media is not None:
            records = self._media.pages(iter(records))
        found = sources.sampled(records, **self._limits)
        items = read_items(
            found, self.template, self.name, complaints=complaints, choice=self._choice, parts=self._parts
        )
        return items if self._copies is None else self._renamed(items, self._copies)

    def _renamed(self, items: Iterator[Item | Blob], copies: CopiedInputs) -> Iterator[Item | Blob]:
        """Yield `items` with complaints that name the input, and no copy of it."""
        with self._named():
            for item in items:
                if isinstance(item, Item) and item.refused is not None:
                    item = msgspec.structs.replace(item, refused=copies.named(item.refused))
                yield item
        self.complaints.first_bad = copies.named(self.complaints.first_bad)

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except InputError as error:
            if self._copies is None:
                raise
            raise InputError(self._copies.named(str(error))) from None

    def inputs(self) -> list[Path] | list[ObjectAddress]:
        """Return the files, or the objects, that are read: results never replace one."""
        if self._copies is not None:
            return self._copies.objects
        return sources.input_paths(self._source, follow=self._reading["follow"])


class ObjectUrls(tuple[str, ...]):
    """Addresses of several inputs in object stores. A list of texts is one of items."""

    __slots__ = ()


def copies_of(source: Any) -> CopiedInputs | None:
    """Return copies of inputs in an object store; None for any other. Raises `InputError`."""
    if isinstance(source, str) and OBJECT_URL.match(source):
        source = ObjectUrls([source])
    if not isinstance(source, ObjectUrls):
        return None
    from headrace.batches.inputs.object_inputs import CopiedInputs

    return CopiedInputs(source)
