"""The documents that a schema file refers to: files in its own folder, or below it."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urljoin

import msgspec

from headrace.errors import InputError, SchemaError
from headrace.guards.small_files import read_whole
from headrace.schema.bundle import MAX_BYTES, bundled
from headrace.schema.documents import Unavailable
from headrace.text.readable import UNREADABLE


class DocumentFolder:
    """The folder of a schema file, its files as documents. `base` is the schema's `$id`, "" for none: what lies beside that is
    looked for beside the file."""

    def __init__(self, schema: Path, base: str):
        self._schema = schema
        self._within = urljoin(base, ".") if base else ""
        self.own = self._within + quote(schema.name)

    def document(self, uri: str) -> tuple[str, Any]:
        relative = uri.removeprefix(self._within) if uri.startswith(self._within) else ""
        name = unquote(relative)
        if not name or "?" in relative or ":" in relative.partition("/")[0] or name.startswith("/") or "\0" in name:
            raise Unavailable(
                f"names no file in the folder of {self._schema}, and nothing is fetched",
                "put the document there, and refer to it by the name of its file",
            )
        return uri, self._read(self._schema.parent / name)

    def _read(self, path: Path) -> Any:
        try:
            file, folder = path.resolve(strict=True), self._schema.parent.resolve()
            if not file.is_relative_to(folder):
                raise Unavailable(
                    f"{path} lies outside of the folder of {self._schema}", "copy it into that folder, or below it"
                )
            status = file.stat()
            if not stat.S_ISREG(status.st_mode):
                raise Unavailable(f"{path} is no file", "name the file of a schema")
            if status.st_size > MAX_BYTES:
                raise Unavailable(
                    f"{path} has more than {MAX_BYTES >> 20} MiB",
                    "refer to a smaller document, with what is needed of it",
                )
            return msgspec.json.decode(read_whole(file))
        except (OSError, RuntimeError) as error:  # a loop of links is a RuntimeError in Python 3.11 and 3.12
            reason = getattr(error, "strerror", None) or "its links lead in a circle"
            raise Unavailable(f"{path}: {reason}", "put the document there, or name the file where it is") from None
        except UNREADABLE as error:
            raise Unavailable(f"{path}: not JSON: {error}", "mend it: a document is one JSON Schema") from None


class NoDocuments:
    """A schema from standard input has no folder."""

    own = ""

    def document(self, uri: str) -> tuple[str, Any]:
        raise Unavailable(
            "a schema from standard input has no folder in which that could lie", "give the schema as a file beside it"
        )


def with_files(schema: dict[str, Any], word: str) -> dict[str, Any]:
    """Return the schema of the file `word` ("-": standard input) with the documents that it refers to. Raises `SchemaError`."""
    try:
        return bundled(schema, lambda base: NoDocuments() if word == "-" else DocumentFolder(Path(word), base))
    except SchemaError:
        raise
    except InputError as error:
        raise SchemaError(str(error)) from None
