"""Reads the media of an item: each file is checked, made smaller where that is asked for, and becomes a part of the
conversation that refers to its bytes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any, NamedTuple

from headrace.batches.media.cells import MAX_SOURCE_BYTES, FoundFile, RemoteFile, files_in
from headrace.batches.media.choice import MediaChoice
from headrace.batches.media.image_checks import check_image
from headrace.batches.media.image_scaling import CONVERTED, Picture, fitting
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

    def __init__(self, choice: MediaChoice, *, models: tuple[str, ...] = (), follow: bool = False):
        self.choice = choice
        self._follow = follow
        self._of_openai = any(model.startswith("openai/") for model in models)

    def read(self, fields: Mapping[str, Any], folder: str, where: str) -> Media:
        """Return the media in the fields of one item, in the order of the columns as they were named. Raises `InputError` with
        the place."""
        parts, blobs = list[Part](), list[Blob]()
        for column in self.choice.columns:
            value = fields[column]
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

    def _parts_of(self, found: FoundFile | RemoteFile, column: str) -> Iterator[tuple[Part, Blob | None]]:
        if isinstance(found, RemoteFile):
            if not self.choice.fetch:
                if column not in self.choice.images:
                    raise InputError(
                        "is an address, which providers do not fetch; give --fetch (fetch=True) to fetch it here"
                    )
                yield image(found.url), None
                return
            from headrace.batches.media.fetching import fetched

            found = FoundFile(fetched(found.url, MAX_SOURCE_BYTES), found.url.partition("?")[0].rpartition("/")[2])
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
        return picture_part(fitting(data, media_type, size, self.choice.image_size))

    def _audio(self, data: bytes, media_type: str) -> tuple[Part, Blob]:
        form = AUDIO_FORMATS[media_type]
        if self._of_openai and form not in FORMATS_OF_OPENAI:
            raise InputError(f"is a sound file of {media_type}, and OpenAI takes WAV and MP3; convert it")
        if media_type == WAV and int.from_bytes(data[4:8], "little") + 8 > len(data):
            raise InputError("is cut off or damaged: it is shorter than it says; copy or save it again")
        blob = checked_blob(data)
        return audio(reference(media_type, blob), form), blob

    def _pdf(self, found: FoundFile) -> Iterator[tuple[Part, Blob | None]]:
        from headrace.batches.media.pdf_pages import check_pdf, page_pictures, page_texts

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
