"""Checks that an image is whole, and how large it is, from its structure, without decoding it: a provider refuses one that is
cut off, after it was sent."""

from __future__ import annotations

import zlib
from typing import NamedTuple

from headrace.batches.media.sniffing import GIF, JPEG, PNG, WEBP
from headrace.errors import InputError

MAX_PIXELS = 178_956_970
"""Pixels from which on Pillow, too, takes an image for a decompression bomb."""
NO_LENGTH = {0x01, *range(0xD0, 0xDA)}
"""Markers of JPEG without a segment."""
FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
"""Markers of JPEG whose segment has the size of the image."""
START_OF_SCAN, END_OF_IMAGE = 0xDA, b"\xff\xd9"
CUT_OFF = "is cut off or damaged: {}; copy or save it again"


class ImageSize(NamedTuple):
    """Width and height, in pixels."""

    width: int
    height: int


def check_image(data: bytes, media_type: str) -> ImageSize:
    """Return the size of a PNG, JPEG, GIF or WebP. Raises `InputError` for one that is cut off, or a decompression bomb."""
    size = SIZES[media_type](data)
    check_pixels(*size)
    return size


def check_pixels(width: int, height: int) -> None:
    if width < 1 or height < 1:
        raise InputError(f"is an image of {width} × {height} pixels, and shows nothing")
    if width * height > MAX_PIXELS:
        raise InputError(
            f"is an image of {width} × {height} pixels, a decompression bomb: one may have {MAX_PIXELS} pixels in all"
        )


def png_size(data: bytes) -> ImageSize:
    at, size, has_data = 8, None, False
    while True:
        length, name = int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8]
        end = at + 12 + length
        if len(name) < 4 or end > len(data):
            raise cut_off("it ends before its last chunk (IEND)")
        if zlib.crc32(memoryview(data)[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end]):
            raise cut_off(f"the checksum of its chunk at byte {at} is wrong")
        if name == b"IHDR" and length >= 8:
            size = ImageSize(int.from_bytes(data[at + 8 : at + 12]), int.from_bytes(data[at + 12 : at + 16]))
        has_data = has_data or name == b"IDAT"
        if name == b"IEND":
            break
        at = end
    if size is None or not has_data:
        raise cut_off("it has no picture in it")
    return size


def jpeg_size(data: bytes) -> ImageSize:
    at, size = 2, None
    while True:
        if at + 4 > len(data):
            raise cut_off("it ends within its header")
        if data[at] != 0xFF:
            raise cut_off(f"byte {at} is no marker")
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if marker in NO_LENGTH:
            at += 2
            continue
        length = int.from_bytes(data[at + 2 : at + 4])
        if marker in FRAMES:
            size = ImageSize(int.from_bytes(data[at + 7 : at + 9]), int.from_bytes(data[at + 5 : at + 7]))
        if marker == START_OF_SCAN:
            break
        at += 2 + length
    if size is None:
        raise cut_off("it has no picture in it")
    if data.rfind(END_OF_IMAGE) < at:
        raise cut_off("its end is missing")
    return size


def gif_size(data: bytes) -> ImageSize:
    if len(data) < 13:
        raise cut_off("it ends within its header")
    at, pictures = 13 + colours(data[10]), 0
    while (block := data[at : at + 1]) != b";":
        if block == b"!":
            at += 2
        elif block == b"," and at + 9 < len(data):
            at += 11 + colours(data[at + 9])
            pictures += 1
        else:
            raise cut_off("its end is missing" if not block else f"byte {at} begins no block")
        while size := int.from_bytes(data[at : at + 1]):
            at += 1 + size
        at += 1
    if not pictures:
        raise cut_off("it has no picture in it")
    return ImageSize(int.from_bytes(data[6:8], "little"), int.from_bytes(data[8:10], "little"))


def colours(flags: int) -> int:
    """Return the bytes of the table of colours that GIF's flags announce."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def webp_size(data: bytes) -> ImageSize:
    if len(data) < 30 or int.from_bytes(data[4:8], "little") + 8 > len(data):
        raise cut_off("it is shorter than it says")
    form = data[12:16]
    if form == b"VP8X":
        return ImageSize(int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1)
    if form == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return ImageSize((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    if form == b"VP8 ":
        return ImageSize(int.from_bytes(data[26:28], "little") & 0x3FFF, int.from_bytes(data[28:30], "little") & 0x3FFF)
    raise cut_off("it has no picture in it")


def cut_off(why: str) -> InputError:
    return InputError(CUT_OFF.format(why))


SIZES = {PNG: png_size, JPEG: jpeg_size, GIF: gif_size, WEBP: webp_size}
