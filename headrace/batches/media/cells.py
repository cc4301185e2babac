"""The value of one cell as a file: its bytes, a path, an address, a data URL, or a `{"bytes", "path"}` of Hugging Face's
data sets."""

from __future__ import annotations

import base64
import binascii
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

from headrace.batches.inputs.input_files import leaving
from headrace.errors import InputError
from headrace.text.quoting import quoted, shortened

MAX_SOURCE_BYTES = 64 * 1024 * 1024
"""Bytes of a file that is read: it may be made smaller, or become texts or pictures of its pages."""
DATA_URL = re.compile(r"data:(?P<type>[^,;]*)(?P<parameters>(?:;[^,;]*)*),", re.IGNORECASE)
ADDRESS = re.compile(r"https?://", re.IGNORECASE)
SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)


class FoundFile(NamedTuple):
    """The bytes of a file, and its name where it has one."""

    data: bytes
    name: str = ""


class RemoteFile(NamedTuple):
    """A file at an address on the web."""

    url: str


def files_in(value: Any, folder: str, *, follow: bool) -> list[FoundFile | RemoteFile]:
    """Return the files that the value of a cell stands for: one, or those of a list. A path is read from `folder` on, and may
    not lead out of it unless it is to `follow` it. Raises `InputError`."""
    values = value if isinstance(value, list | tuple) else [value]
    return [_file_in(each, folder, follow=follow) for each in values]


def _file_in(value: Any, folder: str, *, follow: bool) -> FoundFile | RemoteFile:
    if isinstance(value, bytes | bytearray | memoryview):
        return FoundFile(bytes(value))
    if isinstance(value, Path):  # named by the program itself, not by its data
        return FoundFile(file_bytes(value), value.name)
    if isinstance(value, Mapping) and set(value) >= {"bytes", "path"}:
        name = os.path.basename(value["path"] or "")  # noqa: PTH119 (a path of another system)
        if value["bytes"] is not None:
            return FoundFile(bytes(value["bytes"]), name)
        value = value["path"]
    if hasattr(value, "save") and hasattr(value, "mode") and hasattr(value, "size"):  # an image of Pillow's
        from headrace.batches.media.image_scaling import saved

        return FoundFile(saved(value, "").data)
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"must be a path, an address, or bytes, not {shown(value)}")
    if value[:5].lower() == "data:":
        return FoundFile(data_url(value))
    if ADDRESS.match(value):
        return RemoteFile(value)
    if scheme := SCHEME.match(value):
        raise InputError(f"{quoted(shortened(value))}: addresses of {scheme[1]} are not read; give a path, or http(s)")
    return local_file(value, folder, follow=follow)


def local_file(name: str, folder: str, *, follow: bool) -> FoundFile:
    """Return the file at a path out of somebody's data. Raises `InputError` for one that leads out of the folder."""
    try:
        path = Path(folder or ".") / name
        root = os.path.realpath(folder or ".")
        if not follow and (leaves := leaving(path, root)):
            raise InputError(
                leaves
                if path.is_symlink()
                else f"leads out of the folder {root}; give --follow (follow=True) to read it"
            )
        return FoundFile(file_bytes(path), path.name)
    except InputError as error:
        raise InputError(f"{quoted(shortened(name))}: {error}") from None
    except ValueError as error:  # with a NUL in it
        raise InputError(f"{quoted(shortened(name))}: is no path: {error}") from None


def file_bytes(path: Path) -> bytes:
    """Return what is in an ordinary file. Raises `InputError` for anything else, and for a file that is too large."""
    try:
        # Without waiting: opening a pipe would last until somebody writes into it.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise InputError(error.strerror or str(error)) from None
    try:
        info = os.fstat(descriptor)
        if not stat.S_ISREG(info.st_mode):  # asked before it is made a file of Python's, which a folder never is
            raise InputError("is no ordinary file but a folder, a pipe or a device; give the path of a file")
        if info.st_size > MAX_SOURCE_BYTES:
            raise InputError(f"has {info.st_size} bytes, and a file may have {MAX_SOURCE_BYTES} (64 MiB)")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(MAX_SOURCE_BYTES + 1)
    except OSError as error:  # a disk that fails, a share that is gone
        raise InputError(f"cannot be read: {error.strerror or error}") from None
    finally:
        os.close(descriptor)


def data_url(url: str) -> bytes:
    """Return the bytes in a data URL. Raises `InputError`."""
    head = DATA_URL.match(url)
    if head is None:
        raise InputError("is no data URL: data:TYPE;base64,…")
    rest = url[head.end() :]
    if not head["parameters"].lower().endswith(";base64"):
        return unquote_to_bytes(rest)
    try:
        return base64.b64decode(rest, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError(f"is a data URL whose base64 is broken: {error}") from None


def shown(value: Any) -> str:
    return "an empty text" if isinstance(value, str) else "null" if value is None else type(value).__name__
