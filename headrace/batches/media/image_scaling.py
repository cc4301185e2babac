"""Images made smaller, and put into a type that providers take, by Pillow (the extra `media`)."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from headrace.batches.media.image_checks import ImageSize, check_pixels
from headrace.batches.media.sniffing import BMP, HEIC, JPEG, PNG, TIFF, WEBP
from headrace.errors import InputError
from headrace.text.quoting import shortened

CONVERTED = (BMP, TIFF)
"""Types that Pillow reads, and no provider takes."""
SAVED_AS = {JPEG: ("JPEG", JPEG), WEBP: ("WEBP", WEBP)}
AS_PNG = ("PNG", PNG)
QUALITY = 85
MODES = {"JPEG": ("RGB", "L", "CMYK"), "PNG": ("1", "L", "LA", "I", "P", "RGB", "RGBA", "I;16"), "WEBP": None}
"""Modes of Pillow's that each form can hold."""


class Picture(NamedTuple):
    """An image as it is sent."""

    data: bytes
    media_type: str


def fitting(data: bytes, media_type: str, size: ImageSize | None, longest: int | None) -> Picture:
    """Return the image with no side above `longest` pixels, where that is given; one that fits stays as it is. Raises
    `InputError`."""
    if media_type == HEIC:
        raise InputError("is an image of HEIC or AVIF, which providers do not take; save it as JPEG or PNG")
    if media_type not in CONVERTED and (longest is None or size is None or max(size) <= longest):
        return Picture(data, media_type)
    with decoded(data, f"an image of {media_type} has to be converted" if longest is None else "--image-size") as image:
        from PIL import ImageOps

        ImageOps.exif_transpose(image, in_place=True)
        if longest is not None:
            image.thumbnail((longest, longest))
        return saved(image, media_type)


def saved(image: Any, media_type: str) -> Picture:
    """Return an image of Pillow's in `media_type`, where that is one for pictures without a palette, else as PNG."""
    form, kind = SAVED_AS.get(media_type, AS_PNG)
    if (form == "JPEG" and image.mode not in ("RGB", "L", "CMYK")) or (
        form == "PNG" and image.mode not in ("1", "L", "LA", "I", "P", "RGB", "RGBA", "I;16")
    ):
        image = image.convert("RGB")
    file = io.BytesIO()
    image.save(file, form, **({} if form == "PNG" else {"quality": QUALITY}))
    return Picture(file.getvalue(), kind)


def pillow(what: str) -> Any:
    """Return the module `PIL.Image`. Raises `InputError` that says `what` it is needed for."""
    try:
        import PIL.Image
    except ImportError as error:
        raise InputError(f"{what}: this needs Pillow ({error}): pip install 'headrace[media]'") from None
    return PIL.Image


@contextmanager
def decoded(data: bytes, what: str) -> Iterator[Any]:
    """Yield the image in `data`, decoded by Pillow. Raises `InputError` for what is no image, or too large."""
    library = pillow(what)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a size that is checked next, of metadata that is not used
            image = library.open(io.BytesIO(data))
            check_pixels(*image.size)
            image.load()
    except InputError:
        raise
    except Exception as error:  # Pillow's readers raise whatever they meet
        raise InputError(f"cannot be read as an image: {shortened(str(error))}") from None
    with image:
        yield image
