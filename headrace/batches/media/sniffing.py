"""Media types by the bytes that a file begins with: its name may say anything."""

from __future__ import annotations

PNG, JPEG, GIF, WEBP, BMP, TIFF, HEIC = (
    *("image/png", "image/jpeg", "image/gif", "image/webp", "image/bmp", "image/tiff", "image/heic"),
)
WAV, MP3, FLAC, OGG = "audio/wav", "audio/mpeg", "audio/flac", "audio/ogg"
PDF = "application/pdf"
PDF_MARK = b"%PDF-"
PDF_MARK_WITHIN = 1024
"""Bytes within which readers of PDF look for its mark."""
MARKS = (
    (b"\x89PNG\r\n\x1a\n", PNG),
    (b"\xff\xd8\xff", JPEG),
    (b"GIF87a", GIF),
    (b"GIF89a", GIF),
    (b"BM", BMP),
    (b"II*\x00", TIFF),
    (b"MM\x00*", TIFF),
    (b"fLaC", FLAC),
    (b"OggS", OGG),
    (b"ID3", MP3),
)
RIFF_FORMS = {b"WEBP": WEBP, b"WAVE": WAV}
HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1", b"avif")
SUFFIXES = {
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".heic", ".heif"), "image"),
    **dict.fromkeys((".wav", ".mp3", ".flac", ".ogg", ".oga"), "audio"),
    ".pdf": "pdf",
}
"""Names by which the files of a folder are taken for media."""


def sniffed(data: bytes) -> str | None:
    """Return the media type of `data`; None for what is none that is known here."""
    for mark, media_type in MARKS:
        if data.startswith(mark):
            return media_type
    if data[:4] == b"RIFF":
        return RIFF_FORMS.get(data[8:12])
    if data[4:8] == b"ftyp" and data[8:12] in HEIF_BRANDS:
        return HEIC
    if len(data) > 1 and data[0] == 0xFF and data[1] & 0xE6 == 0xE2:  # a frame of MPEG, layer III
        return MP3
    return PDF if PDF_MARK in data[:PDF_MARK_WITHIN] else None


def described(data: bytes) -> str:
    """Return what `data` seems to be, for a complaint."""
    if not data:
        return "empty"
    media_type = sniffed(data)
    if media_type is not None:
        return f"{'an image' if media_type.startswith('image/') else 'a file'} of type {media_type}"
    if data.lstrip()[:15].lower().startswith((b"<!doctype html", b"<html")):
        return "a page of HTML (an error page, saved in its place?)"
    try:
        data[:512].decode()
    except UnicodeDecodeError as error:
        if error.start < 500:
            return "no file of a known type"
    return "a text"
