"""Reads the media of an item: each file is checked, made smaller where that is asked for, and becomes a part of the
conversation that refers to its bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import PurePath
from typing import Any, NamedTuple

from headrace.batches.inputs.complaints import InputRecord
from headrace.batches.media.cells import MAX_SOURCE_BYTES, FoundFile, RemoteFile, files_in
from headrace.batches.media.choice import MediaChoice
from headrace.batches.media.image_checks import check_image
from headrace.batches.media.image_scaling import CONVERTED, Picture, fitting
from headrace.batches.media.made_pictures import MadePictures
from headrace.batches.media.pages import MAX_PAGES_OF_FILE, PAGE, PAGES, PdfPage
from headrace.batches.media.pdf_pages import check_pdf, page_picture, page_pictures, page_text, page_texts
from headrace.batches.media.references import Blob, Part, reference
from headrace.batches.media.sniffing import FLAC, HEIC, MP3, OGG, PDF, SUFFIXES, WAV, described, sniffed
from headrace.chat.messages import audio, file, image, text
from headrace.errors import InputError

MAX_MEDIA_BYTES = 20 * 1024 * 1024
"""Bytes of a file that is sent. OpenAI takes 50 MB in a request, as base64, which is a third more."""
AUDIO_FORMATS = {WAV: "wav", MP3: "mp3", FLAC: "flac", OGG: "ogg"}
FORMATS_OF_OPENAI = ("wav", "mp3")
MAX_FILES = 100
"""Files of one item."""


class Media(NamedTuple):
    """The media of one item: parts of its conversation, and the blobs that they refer to."""

    parts: list[Part]
    blobs: list[Blob]


class MediaReader:
    """Reads the columns of `choice`. `models` are those that are asked; links and paths that lead out of the folder of the input
    are read where it is to `follow` them."""

    def __init__(
        self,
        choice: MediaChoice,
        *,
        models: tuple[str, ...] = (),
        follow: bool = False,
        made: MadePictures | None = None,
    ):
        """Pictures that are `made` are made once, however often they are read."""
        self.choice = choice
        self._made = made
        self._follow = follow
        self._of_openai = any(model.startswith("openai/") for model in models)

    def pages(self, records: Iterator[InputRecord]) -> Iterator[InputRecord]:
        """Yield a record for each page of the PDF in a record; the record itself where there is none, or one that cannot be read:
        that is told when its media are read."""
        for record in records:
            try:
                found = self._pdf_in(record)
                count = 0 if found is None else check_pdf(found.data, MAX_PAGES_OF_FILE)
            except InputError:
                found, count = None, 0
            if found is None:
                yield record
            for number in range(1, count + 1):
                yield record._replace(
                    where=f"{record.where}, page {number}",
                    fields={PAGE: number, PAGES: count} | record.fields,
                    page=PdfPage(found.data if found is not None else b"", number),
                    suffix=f"#page={number}",
                )

    def _pdf_in(self, record: InputRecord) -> FoundFile | None:
        for column in (*self.choice.pdfs, *self.choice.files):
            if not (value := record.fields.get(column)):
                continue
            files = files_in(value, record.folder, follow=self._follow)
            found = self._fetched(files[0]) if len(files) == 1 else None
            return found if found is not None and sniffed(found.data) == PDF else None
        return None

    def check_pages(self, record: InputRecord) -> None:
        """Raise `InputError` for a record whose PDF has no pages that could be items, with what is wrong with it."""
        if self.choice.by_page and record.page is None and record.fields.keys() >= set(self.choice.columns):
            self.read(record)

    def value_of(self, column: str, record: InputRecord) -> Any:
        """Return what a column of media has: of a page that is sent as its text that text. Raises `InputError`."""
        if record.page is None or self.choice.pdf_as != "page-texts" or column not in self._pdf_columns:
            return record.fields[column]
        try:
            return page_text(*record.page)
        except InputError as error:
            raise InputError(f"{record.where}: {error}") from None

    @property
    def _pdf_columns(self) -> tuple[str, ...]:
        return (*self.choice.pdfs, *self.choice.files)

    def read(self, record: InputRecord) -> Media:
        """Return the media of one item, in the order of the columns as they were named. Raises `InputError` with the place."""
        fields, folder, where = record.fields, record.folder, record.where
        parts, blobs = list[Part](), list[Blob]()
        for column in self.choice.columns:
            value = fields[column]
            if record.page is not None and column in self._pdf_columns:
                part, blob = self._page(record)
                parts += [] if part is None else [part]
                blobs += [] if blob is None else [blob]
                continue
            if value is None or value == "" or value == []:
                continue
            place = where if column in self.choice.files else f"{where}, column {column}"
            try:
                for found in files_in(value, folder, follow=self._follow):
                    for part, blob in self._parts_of(found, column):
                        parts.append(part)
                        if blob is not None:
                            blobs.append(blob)
                        if len(parts) > MAX_FILES:
                            raise InputError(f"has more than {MAX_FILES} files, or pages, which an item may have")
            except InputError as error:
                raise InputError(f"{place}: {error}") from None
        return Media(parts, blobs)

    def _fetched(self, found: FoundFile | RemoteFile) -> FoundFile | None:
        """Return a file with its bytes; None for one at an address that is not to be fetched."""
        if isinstance(found, FoundFile):
            return found
        if not self.choice.fetch:
            return None
        from headrace.batches.media.fetching import fetched

        return FoundFile(fetched(found.url, MAX_SOURCE_BYTES), found.url.partition("?")[0].rpartition("/")[2])

    def _parts_of(self, given: FoundFile | RemoteFile, column: str) -> Iterator[tuple[Part, Blob | None]]:
        found = self._fetched(given)
        if found is None:
            if column not in self.choice.images or not isinstance(given, RemoteFile):
                raise InputError(
                    "is an address, which providers do not fetch; give --fetch (fetch=True) to fetch it here"
                )
            yield image(given.url), None
            return
        try:
            yield from self._kept(found, column)
        except InputError as error:
            raise InputError(
                f"{found.name}: {error}" if found.name and column not in self.choice.files else str(error)
            ) from None

    def _kept(self, found: FoundFile, column: str) -> Iterator[tuple[Part, Blob | None]]:
        media_type = sniffed(found.data) or ""
        kind = self._kind(column, media_type, found.name)
        if kind == "image" and media_type.startswith("image/"):
            yield self._image(found.data, media_type)
        elif kind == "audio" and media_type in AUDIO_FORMATS:
            yield self._audio(found.data, media_type)
        elif kind == "pdf" and media_type == PDF:
            yield from self._pdf(found)
        else:
            wanted = {"image": "an image", "audio": "a sound file (WAV, MP3, FLAC, Ogg)", "pdf": "a PDF"}[kind]
            raise InputError(f"is no {wanted.partition(' ')[2]} but {described(found.data)}")

    def _kind(self, column: str, media_type: str, name: str) -> str:
        """Return what a file is to be: what its column is, and of a folder what is in it, or else what its name promises."""
        if column in self.choice.images:
            return "image"
        if column in self.choice.audio:
            return "audio"
        if column in self.choice.pdfs or media_type == PDF:
            return "pdf"
        if media_type:
            return "audio" if media_type.startswith("audio/") else "image"
        return SUFFIXES.get(PurePath(name).suffix.lower(), "image")

    def _image(self, data: bytes, media_type: str) -> tuple[Part, Blob]:
        size = None if media_type in CONVERTED or media_type == HEIC else check_image(data, media_type)
        longest = self.choice.image_size
        return picture_part(self._once(data, f"fits {longest}", lambda: fitting(data, media_type, size, longest)))

    def _once(self, data: bytes, how: str, make: Callable[[], Picture]) -> Picture:
        return make() if self._made is None else self._made.picture(data, how, make)

    def _page(self, record: InputRecord) -> tuple[Part | None, Blob | None]:
        """Return a page as a part of the conversation; none of a page without text."""
        assert record.page is not None
        data, number = record.page
        longest = self.choice.image_size
        try:
            if self.choice.pdf_as == "page-texts":
                found = page_text(data, number)
                return (text(found) if found else None), None
            picture = self._once(data, f"page {number} {longest}", lambda: page_picture(data, number, longest))
            return picture_part(picture)
        except InputError as error:
            raise InputError(f"{record.where}: {error}") from None

    def _audio(self, data: bytes, media_type: str) -> tuple[Part, Blob]:
        form = AUDIO_FORMATS[media_type]
        if self._of_openai and form not in FORMATS_OF_OPENAI:
            raise InputError(f"is a sound file of {media_type}, and OpenAI takes WAV and MP3; convert it")
        if media_type == WAV and int.from_bytes(data[4:8], "little") + 8 > len(data):
            raise InputError("is cut off or damaged: it is shorter than it says; copy or save it again")
        blob = checked_blob(data)
        return audio(reference(media_type, blob), form), blob

    def _pdf(self, found: FoundFile) -> Iterator[tuple[Part, Blob | None]]:
        if self.choice.by_page:  # or it had been read as pages
            check_pdf(found.data, MAX_PAGES_OF_FILE)
            raise InputError(
                f"is one of several files, and --pdf-as {self.choice.pdf_as} takes one; give it a row of its own"
            )
        if self.choice.pdf_as == "text":
            yield text("\n\n".join(page_texts(found.data))), None
        elif self.choice.pdf_as == "images":
            for picture in page_pictures(found.data, self.choice.image_size):
                yield picture_part(picture)
        else:
            check_pdf(found.data)
            blob = checked_blob(found.data)
            yield file(found.name or "document.pdf", reference(PDF, blob)), blob


def picture_part(picture: Picture) -> tuple[Part, Blob]:
    blob = checked_blob(picture.data)
    return image(reference(picture.media_type, blob)), blob


def checked_blob(data: bytes) -> Blob:
    """Return what is sent as a blob. Raises `InputError` for one that is too large."""
    if len(data) > MAX_MEDIA_BYTES:
        raise InputError(
            f"has {len(data)} bytes, and what is sent may have {MAX_MEDIA_BYTES} (20 MiB); images: --image-size"
        )
    return Blob.of(data)
