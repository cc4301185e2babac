"""What the command line prints: nothing but text on a terminal, exact bytes elsewhere, and all of it by one module."""

from __future__ import annotations

import ast
import io
import sys
from pathlib import Path

import pytest

import headrace.cli
from headrace.cli import terminal
from headrace.cli.terminal import Flow, visible

SEQUENCES = {
    "\x1b[2J": r"\x1b[2J",
    "\x1b]0;title\x07": r"\x1b]0;title\x07",
    "\x1b]52;c;cm0gLXJm\x1b\\": r"\x1b]52;c;cm0gLXJm\x1b\ ".rstrip(),
    "\x9b2J": r"\u009b2J",
    "\x9d0;t\x9c": r"\u009d0;t\u009c",
    "safe\revil": r"safe\revil",
    "safe\b\b\b\bevil": r"safe\b\b\b\bevil",
    "a\r\nb\n\tc": "a\nb\n\tc",
    "\x00\x07\x0b\x0c\x0e\x7f": r"\x00\x07\x0b\x0c\x0e\x7f",
    "user\u202e \u2066// admin": r"user\u202e \u2066// admin",
    "a\u2028b": r"a\u2028b",
    "half \ud83d": r"half \ud83d",
    "name \udcff": r"name \xff",
    "Grüße, 世界 👩‍💻 שלום": "Grüße, 世界 👩‍💻 שלום",
}


@pytest.mark.parametrize("text", SEQUENCES)
def test_controls_are_visible(text: str) -> None:
    assert visible(text) == SEQUENCES[text]


def test_every_control_is_visible_and_every_letter_stays() -> None:
    for number in [*range(0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)]:
        if chr(number) not in "\n\t":
            assert visible(chr(number)).isascii()
            assert visible(chr(number)).isprintable()
    kept = "".join(map(chr, [*range(0x20, 0x7F), *range(0xA0, 0x2028), 0x1F600]))
    assert visible(kept) == kept


class Stream(io.TextIOWrapper):
    """A stream in an encoding that has no room for much."""

    def __init__(self, *, terminal: bool):
        super().__init__(io.BytesIO(), encoding="ascii")
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal

    def written(self) -> bytes:
        self.flush()
        buffer = self.buffer
        assert isinstance(buffer, io.BytesIO)
        return buffer.getvalue()


def printed(monkeypatch: pytest.MonkeyPatch, message: str | bytes, *, on_terminal: bool) -> bytes:
    stream = Stream(terminal=on_terminal)
    monkeypatch.setattr(sys, "stdout", stream)
    terminal.echo(message, nl=False)
    return stream.written()


@pytest.mark.parametrize("text", SEQUENCES)
def test_elsewhere_the_bytes_are_exact(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    expected = text.replace("\ud83d", "\ufffd").encode(errors="surrogateescape")
    assert printed(monkeypatch, text, on_terminal=False) == expected
    assert printed(monkeypatch, expected, on_terminal=False) == expected


def test_output_is_utf_8_whatever_the_stream_says(monkeypatch: pytest.MonkeyPatch) -> None:
    assert printed(monkeypatch, "Grüße 👋", on_terminal=True) == "Grüße 👋".encode()
    assert printed(monkeypatch, "Grüße 👋", on_terminal=False) == "Grüße 👋".encode()


def test_bytes_are_made_visible_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    assert printed(monkeypatch, b'{"a":"\xc2\x9b2J\xff"}', on_terminal=True) == rb'{"a":"\u009b2J\xff"}'


@pytest.mark.parametrize("cut", range(6))
def test_sequences_cut_in_two_and_line_ends_cut_in_two(monkeypatch: pytest.MonkeyPatch, cut: int) -> None:
    text = "\x1b[2J\r\nx\r"
    for on_terminal, expected in ((True, b"\\x1b[2J\nx\\r\n"), (False, text.encode() + b"\n")):
        stream = Stream(terminal=on_terminal)
        monkeypatch.setattr(sys, "stdout", stream)
        flow = Flow()
        for piece in (text[:cut], text[cut:]):
            flow.add(piece)
        flow.end()
        flow.end()
        assert stream.written() == expected


def test_without_an_output_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    terminal.echo("text")


MODULES = sorted(path for path in Path(next(iter(headrace.cli.__path__))).glob("*.py") if path.name != "terminal.py")
PRINTERS = {
    "click.echo",
    "click.secho",
    "click.echo_via_pager",
    "print",
    "rich.print",
    "Console",
    "sys.stdout",
    "sys.stderr",
}


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_nothing_is_printed_past_the_terminal(module: Path) -> None:
    used = {
        ast.unparse(node)
        for node in ast.walk(ast.parse(module.read_text()))
        if isinstance(node, ast.Name | ast.Attribute)
    }
    in_types = {"Console"} if module.stem == "doctor" else set()  # the type of an argument
    assert not (used & PRINTERS) - in_types
