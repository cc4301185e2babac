"""PDF files: checked, and as texts or pictures of their pages, by pypdfium2 (the extra `media`)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from headrace.batches.media.image_scaling import Picture, pillow, saved
from headrace.batches.media.pages import MAX_PAGES_OF_FILE
from headrace.batches.media.sniffing import JPEG
from headrace.errors import InputError
from headrace.text.quoting import shortened

MAX_PAGES = 100
DEFAULT_PAGE_PIXELS = 1600
"""Longest side of a page's picture: at which models read small print."""
MAX_TEXT_CHARS = 4 * 1024 * 1024
PASSWORD = 4
"""PDFium's number for a file that needs a password."""
_one_at_a_time = threading.Lock()  # PDFium is not safe to call from several threads


def check_pdf(data: bytes, most: int = MAX_PAGES) -> int:
    """Return the number of pages. Raises `InputError` for a file that cannot be read, has a password, no pages or more than
    `most`."""
    with opened_pdf(data, most) as document:
        return len(document)


def page_texts(data: bytes) -> list[str]:
    """Return the text of each page; empty where it is a picture alone. Raises `InputError`."""
    texts, size = list[str](), 0
    with opened_pdf(data) as document:
        for page in document:
            text = text_of(page)
            size += len(text)
            if size > MAX_TEXT_CHARS:
                raise InputError(f"has more than {MAX_TEXT_CHARS} characters of text")
            texts.append(text)
    if not any(texts):
        raise InputError("has no text: its pages are pictures; give --pdf-as images")
    return texts


def page_pictures(data: bytes, longest: int | None) -> list[Picture]:
    """Return a picture of each page, `longest` pixels on its longer side. Raises `InputError`."""
    with opened_pdf(data) as document:
        return [picture_of(page, longest) for page in document]


def page_picture(data: bytes, number: int, longest: int | None) -> Picture:
    """Return a picture of a page, counted from 1 on. Raises `InputError`."""
    with opened_pdf(data, MAX_PAGES_OF_FILE) as document:
        return picture_of(document[number - 1], longest)


def page_text(data: bytes, number: int) -> str:
    """Return the text of a page, counted from 1 on; empty where it is a picture alone. Raises `InputError`."""
    with opened_pdf(data, MAX_PAGES_OF_FILE) as document:
        text = text_of(document[number - 1])
    if len(text) > MAX_TEXT_CHARS:
        raise InputError(f"has more than {MAX_TEXT_CHARS} characters of text")
    return text


def text_of(page: Any) -> str:
    words = page.get_textpage()
    text = words.get_text_bounded().replace("\r\n", "\n").strip()
    words.close()
    page.close()
    return text


def picture_of(page: Any, longest: int | None) -> Picture:
    pillow("--pdf-as images")
    scale = (longest or DEFAULT_PAGE_PIXELS) / max(1.0, *page.get_size())
    picture = saved(page.render(scale=scale).to_pil(), JPEG)
    page.close()
    return picture


@contextmanager
def opened_pdf(data: bytes, most: int = MAX_PAGES) -> Iterator[Any]:
    try:
        import pypdfium2
    except ImportError as error:
        raise InputError(f"a PDF file: this needs pypdfium2 ({error}): pip install 'headrace[media]'") from None
    with _one_at_a_time:
        try:
            document = pypdfium2.PdfDocument(data)
        except pypdfium2.PdfiumError as error:
            if getattr(error, "err_code", None) == PASSWORD or "assword" in str(error):
                raise InputError("is a PDF with a password; save it without one") from None
            raise InputError(f"cannot be read as a PDF: {shortened(str(error))} (is it damaged, or cut off?)") from None
        try:
            pages = len(document)
            if not pages:
                raise InputError("is a PDF without pages")
            if pages > most:
                each = "" if most > MAX_PAGES else ", or give --pdf-as pages (page-texts): an item of each"
                raise InputError(f"has {pages} pages, and a PDF may have {most}; split it{each}")
            yield document
        except pypdfium2.PdfiumError as error:
            raise InputError(f"cannot be read as a PDF: {shortened(str(error))} (is it damaged, or cut off?)") from None
        finally:
            document.close()
