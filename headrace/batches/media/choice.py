"""The columns of an input that are media, and how their files are sent."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Literal, NamedTuple, get_args

from headrace.errors import InputError
from headrace.text.quoting import quoted

PdfForm = Literal["file", "text", "images", "pages", "page-texts"]
"""A PDF is sent as the file that it is, as the text of its pages, or as pictures of them; or each page is an item, as a picture
or as its text."""
PDF_FORMS: tuple[PdfForm, ...] = get_args(PdfForm)
MIN_PIXELS, MAX_PIXELS_OF_SIDE = 16, 16_384
FILE_FIELD = "@file"
"""The field of an item that is a file of a folder."""


class MediaChoice(NamedTuple):
    """The columns of images, sound and PDF files. Images, and pictures of pages, get no side above `image_size` pixels; with
    `fetch` what lies at an address is fetched and kept, else the provider is given the address."""

    images: tuple[str, ...] = ()
    audio: tuple[str, ...] = ()
    pdfs: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    image_size: int | None = None
    pdf_as: PdfForm = "file"
    fetch: bool = False

    @classmethod
    def of(
        cls,
        *,
        images: Any = None,
        recordings: Any = None,
        pdfs: Any = None,
        image_size: Any = None,
        pdf_as: Any = "file",
        fetch: Any = False,
    ) -> MediaChoice:
        """Return the choice of a caller: names of columns, one or several. Raises `InputError`."""
        columns = [names_of("images", images), names_of("recordings", recordings), names_of("pdfs", pdfs)]
        every = [name for names in columns for name in names]
        if len(set(every)) < len(every):
            twice = next(name for name in every if every.count(name) > 1)
            raise InputError(f"the column {quoted(twice)} is named twice for media; it is images, audio or PDF files")
        if image_size is not None and (
            isinstance(image_size, bool)
            or not isinstance(image_size, int)
            or not MIN_PIXELS <= image_size <= MAX_PIXELS_OF_SIDE
        ):
            raise InputError(
                f"image_size={quoted(image_size)}: must be a number of pixels from {MIN_PIXELS} to {MAX_PIXELS_OF_SIDE}"
            )
        if pdf_as not in PDF_FORMS:
            raise InputError(f"pdf_as={quoted(pdf_as)}: must be one of {', '.join(PDF_FORMS)}")
        return cls(*columns, image_size=image_size, pdf_as=pdf_as, fetch=bool(fetch))

    @property
    def by_page(self) -> bool:
        """True where each page of a PDF is an item."""
        return self.pdf_as in ("pages", "page-texts")

    @property
    def columns(self) -> tuple[str, ...]:
        return (*self.images, *self.audio, *self.pdfs, *self.files)


def names_of(option: str, given: Any) -> tuple[str, ...]:
    """Return names of columns, in a text (one name) or a list. Raises `InputError`."""
    if given is None:
        return ()
    names = [given] if isinstance(given, str) else given
    if not isinstance(names, Collection) or not all(isinstance(name, str) and name for name in names):
        raise InputError(f"{option}={quoted(given)}: must be the name of a column, or several")
    return tuple(names)
