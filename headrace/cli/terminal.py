"""The one way out of the command line: exact bytes for files and pipes, and on a terminal nothing but text.

What is printed came from models, providers, files and whoever wrote an id. A terminal obeys control sequences in it: they clear
the screen, set the title, write the clipboard, or make a line read otherwise than it is. There they are shown as escapes.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

from headrace.text.visible import visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text


def is_terminal(*, err: bool = False) -> bool:
    """Return True if standard output (or error) is one."""
    try:
        return bool((sys.stderr if err else sys.stdout).isatty())
    except (AttributeError, ValueError):  # there is none, or it is closed
        return False


RENAMED: dict[str, str] = {}
"""Beginnings of paths, and what people are shown in their place: a file that stands for another one."""


def echo(message: Any = "", *, err: bool = False, nl: bool = True, dim: bool = False) -> None:
    """Print `message`, a text or bytes, in UTF-8 whatever the locale says, and flush. On a terminal it is made visible, and `dim`
    has an effect. Bytes of file names that are no UTF-8 are written as they are."""
    end = b"\n" if nl else b""
    if RENAMED and isinstance(message, str):
        for path, name in RENAMED.items():
            message = message.replace(path, name)
    if is_terminal(err=err):
        text = message.decode(errors="surrogateescape") if isinstance(message, bytes) else str(message)
        text = visible(text)
        put(encoded(click.style(text, dim=True) if dim else text) + end, err=err)
    else:
        put((message if isinstance(message, bytes) else encoded(str(message))) + end, err=err)


def encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        pass
    return re.sub("[\ud800-\udc7f\udd00-\udfff]", "\ufffd", text).encode(errors="surrogateescape")


def put(data: bytes, *, err: bool) -> None:
    stream = sys.stderr if err else sys.stdout
    if stream is None:  # closed by whoever started this
        return
    stream.flush()
    buffer = getattr(stream, "buffer", None)
    if buffer is None:
        stream.write(data.decode(errors="replace"))
    else:
        buffer.write(data)
    stream.flush()


class Flow:
    """A text that comes in pieces, on standard output or error. A carriage return at the end of a piece waits for the next one:
    before a line feed it is a line end."""

    def __init__(self, *, err: bool = False, dim: bool = False):
        self.is_open = False  # whether its last line has no end yet
        self._err = err
        self._dim = dim
        self._held = ""

    def add(self, piece: str) -> None:
        piece, self._held = self._held + piece, ""
        if piece.endswith("\r") and is_terminal(err=self._err):
            piece, self._held = piece[:-1], "\r"
        if piece:
            echo(piece, nl=False, err=self._err, dim=self._dim)
        self.is_open = self.is_open or bool(piece or self._held)

    def end(self) -> None:
        """End the line, if one is open."""
        if self.is_open:
            echo(self._held, err=self._err, dim=self._dim)
        self.is_open, self._held = False, ""


def console(*, err: bool = False) -> Console:
    """Return rich's console, for what is printed with `cell`: its own markup and links are off for any other text."""
    from rich.console import Console

    return Console(stderr=err, markup=False, emoji=False, highlight=False)


def cell(text: str, style: str = "") -> Text:
    """Return `text` for rich: made visible, and without markup."""
    from rich.text import Text

    return Text(visible(text), style=style)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table for people."""
    from rich.table import Table

    made = Table(*columns)
    for row in rows:
        made.add_row(*map(cell, row))
    console().print(made)
