"""Small images, sounds and PDF files, made by the tests themselves."""

from __future__ import annotations

import io
import random
import struct
import wave
import zlib

from PIL import Image

RANDOM = random.Random(7)


def image(form: str = "PNG", size: tuple[int, int] = (40, 30), **options: object) -> bytes:
    """An image of noise, so that no two are equal."""
    picture = Image.frombytes("RGB", size, RANDOM.randbytes(size[0] * size[1] * 3))
    file = io.BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


def huge_png(width: int, height: int) -> bytes:
    """A small file that says that it is an image of that size."""
    return png(width, height, zlib.compress(b"\0"))


def heavy_png(size: int) -> bytes:
    """An image of `size` bytes and a little more, made at once."""
    return png(400, 400, RANDOM.randbytes(size))


def png(width: int, height: int, data: bytes) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def sound(seconds: float = 0.1) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as written:
        written.setnchannels(1)
        written.setsampwidth(2)
        written.setframerate(8000)
        written.writeframes(RANDOM.randbytes(int(seconds * 8000) * 2))
    return file.getvalue()


def pdf(*pages: str) -> bytes:
    """A PDF with a page for each text."""
    kids = " ".join(f"{4 + 2 * number} 0 R" for number in range(len(pages)))
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for number, text in enumerate(pages):
        stream = f"BT /F1 24 Tf 72 700 Td ({text}) Tj ET"
        objects += [
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {5 + 2 * number} 0 R "
            "/Resources << /Font << /F1 3 0 R >> >> >>",
            f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream",
        ]
    file, places = b"%PDF-1.4\n", list[int]()
    for number, body in enumerate(objects, 1):
        places.append(len(file))
        file += f"{number} 0 obj\n{body}\nendobj\n".encode()
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    end = (
        f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}trailer\n<< /Size {len(objects) + 1} /Root 1 0 R >>\n"
    )
    return file + f"{end}startxref\n{len(file)}\n%%EOF\n".encode()


ENCRYPTED_PDF = pdf("secret").replace(
    b"/Root 1 0 R >>",
    b"/Root 1 0 R /Encrypt << /Filter /Standard /V 1 /R 2 /P -4 /O <"
    + b"28" * 32
    + b"> /U <"
    + b"41" * 32
    + b"> >> /ID [<00><00>] >>",
)
"""A PDF that opens with a password alone."""
