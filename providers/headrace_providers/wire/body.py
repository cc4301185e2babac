"""The body of an answer as bytes: of bounded length, decompressed, and with whatever came before its connection broke."""

from __future__ import annotations

import asyncio
import zlib
from codecs import lookup
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Any

from headrace.errors import CallError

NO_CHARSETS = frozenset({"idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined"})
"""Codecs of text that raise, or warn, whatever they are told to do with an error."""
PIECE = 1 << 16
LARGE = 1 << 16
MIN_HEADER = 2
PADDING = b"\0"
WINDOW = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


class Body:
    """A response's body: `arriving` returns the next bytes, none at the end, and `left` the rest of them once that has raised.

    It ends in a `CallError` after `most` bytes, also decompressed: an answer without an end must not fill the memory.
    """

    def __init__(self, arriving: Callable[[], Awaitable[bytes]], left: Callable[[], bytes], encoding: str, most: int):
        self._arriving = arriving
        self._left = left
        self._most = most
        self._came = 0
        self._broken: Exception | None = None
        self._ready: Iterator[bytes] = iter(())
        self._inflater = inflater_of(encoding)

    async def read(self) -> bytes:
        """Return the next piece; empty at the end. Raises what the connection broke with, after all that had come."""
        while True:
            data = next(self._ready, None)
            if data is None:
                data = await self._next()
                if not data:
                    if self._inflater is not None and not self._inflater.is_whole:
                        raise CallError("connection", "the provider's compressed answer ended before its end")
                    return b""
                if self._inflater is not None:
                    self._ready = self._inflater.pieces(data)
                    continue
            if not data:
                continue
            self._came += len(data)
            if self._came > self._most:
                raise CallError("provider_error", f"the provider's answer is larger than {self._most} bytes")
            if self._came > LARGE:
                await asyncio.sleep(0)  # what has arrived already is handed over without a turn of the loop
            return data

    async def _next(self) -> bytes:
        if self._broken is not None:
            raise self._broken
        try:
            return await self._arriving()
        except Exception as error:
            self._broken = error
            data = self._left()
            if not data:
                raise
            return data


def left_in(content: Any) -> bytes:
    """Return what had arrived before a connection broke: aiohttp's reader raises at once, and keeps it to itself."""
    with suppress(Exception):
        offset, buffer = content._buffer_offset, content._buffer
        data = b"".join(buffer)[offset:]
        buffer.clear()
        return data
    return b""


def inflater_of(encoding: str) -> Inflater | None:
    """Return what decompresses a body of this `Content-Encoding`, if something must: it was not asked for, but some proxies do
    it all the same. Raises `CallError` for one that is not known."""
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return None
    if encoding not in WINDOW:
        raise CallError("provider_error", "the provider sent a compressed answer that was not asked for")
    return Inflater(WINDOW[encoding])


def text_encoding(charset: str | None) -> str:
    """Return the encoding that a `Content-Type` names, UTF-8 for one that no text has: `hex` is a codec, too."""
    try:
        if charset and lookup(charset).name.replace("-", "_") in NO_CHARSETS:
            return "utf-8"
        "".encode(charset or "utf-8").decode(charset or "utf-8", errors="replace")
    except (LookupError, ValueError):
        return "utf-8"
    return charset or "utf-8"


class Inflater:
    """Decompresses gzip (several members, too) and deflate, with or without zlib's header."""

    def __init__(self, window: int):
        self._window = window
        self._inside = zlib.decompressobj(window)
        self._begun = False
        self._held = b""
        self.is_whole = True

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """Yield the bytes in `data`, a bounded piece at a time. Raises `CallError`."""
        if not self._begun:
            data = self._held + data
            if len(data) < MIN_HEADER:  # of zlib's header, by which deflate is told from raw deflate
                self._held, self.is_whole = data, not data
                return
        try:
            out = b""
            while data or len(out) == PIECE:  # what was held back by the bound comes without further input
                self.is_whole = False
                out = self._inflate(data)
                yield out
                data = self._inside.unconsumed_tail
                if self._inside.eof:
                    data, self.is_whole = self._inside.unused_data.lstrip(PADDING), True
                    if data:
                        self._inside = zlib.decompressobj(self._window)
        except zlib.error:
            raise CallError("provider_error", "the provider's compressed answer cannot be read") from None

    def _inflate(self, data: bytes) -> bytes:
        begun, self._begun = self._begun, True
        try:
            return self._inside.decompress(data, PIECE)
        except zlib.error:
            if begun or self._window != zlib.MAX_WBITS:
                raise
            self._window = -zlib.MAX_WBITS
            self._inside = zlib.decompressobj(self._window)
            return self._inside.decompress(data, PIECE)
