"""Repair malformed JSON: truncation, single quotes, missing or surplus commas and quotes, comments, Python literals.

json-repair has the most heuristics but no bound on its time: its steps are counted, and abort it. What is too large for it
(some ten thousand characters) is repaired here, in one pass and with fewer guesses.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import msgspec

MAX_STEPS = 600_000
"""Maximal number of characters that json-repair may read, repeated ones counted: 0.4 s at most."""
MAX_DEPTH = 200
MAX_VALUES = 200_000
MAX_FOUND = 50
NO_NUMBER = re.compile(r"[\[:,]\s*-?(?:NaN|Infinity)\b")  # mending would make a text of it
OPENING = re.compile(r"[{\[]")
BREAK = re.compile(r"[,:{}\[\]\n]|\s(?=//|/\*|#)")
IN_QUOTES = {'"': re.compile(r'["\\]'), "'": re.compile(r"['\\]"), "“": re.compile(r"[”\\]")}
SPACE = re.compile(r"\s*")
NEXT_NAME = re.compile(r"\s+[\"'][^\"'\n]{0,200}[\"']\s{0,20}:")
ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|[^u])", re.DOTALL)
ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
NUMBER = re.compile(r"([+-]?)0{0,20}(\d{1,400}(?:\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?(?=[\s,\]}]|$)")
WORDS = {"true": True, "false": False, "null": None, "True": True, "False": False, "None": None}
KEY_ENDS, VALUE_ENDS = frozenset(":"), frozenset(",}]")


class RepairLimitExceeded(Exception):
    """The repair exceeds its work limit."""


class MeteredText(str):
    """A text that counts its reads and raises `RepairLimitExceeded` beyond a limit."""

    steps = 0

    def __getitem__(self, at: Any, get: Callable[[str, Any], str] = str.__getitem__) -> str:
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise RepairLimitExceeded
        return get(self, at)


def repair(text: str) -> Any:
    """Return the object or list that `text` was probably meant to be; None where there is none. Linear in the length of the
    text."""
    start = OPENING.search(text)
    if not start or NO_NUMBER.search(text):
        return None
    text = text[start.start() :]
    try:
        try:
            found = by_json_repair(text)
        except RepairLimitExceeded:
            found = Mender(text).value()
    except (ValueError, RecursionError, TypeError, RepairLimitExceeded):
        return None
    return found if isinstance(found, dict | list) else None


def by_json_repair(text: str) -> Any:
    """Return what json-repair makes of the text. Raises `RepairLimitExceeded`, or what json-repair raises."""
    if len(text) > MAX_STEPS // 2:
        raise RepairLimitExceeded
    from json_repair import repair_json

    try:
        text = repair_json(MeteredText(text), skip_json_loads=True, ensure_ascii=False)
    except (RepairLimitExceeded, MemoryError):
        raise
    except Exception as error:  # it has accidents of many kinds, an AssertionError among them
        raise ValueError(f"json-repair: {type(error).__name__}") from None
    return msgspec.json.decode(text)


class Mender:
    """A single-pass parser of one text, from its first bracket on."""

    def __init__(self, text: str):
        self.text = text
        self.at = 0
        self.values = 0
        self.open: list[tuple[Any, int]] = []  # objects and lists, and where each began
        self.names: list[str | None] = []  # of each, the name that waits for its value
        self.colons: list[bool] = []  # of each, whether the name was followed by a colon
        self.found: list[tuple[bool, int, Any]] = []

    def value(self) -> Any:
        """Return the longest object, else the longest list. Raises `RepairLimitExceeded`."""
        while self.at < len(self.text) and len(self.found) < MAX_FOUND:
            start = OPENING.search(self.text, self.at)
            if start is None:
                break
            self.at = start.start()
            self.read()
        if not self.found:
            return None
        found = max(self.found, key=lambda each: each[:2])[2]
        msgspec.json.encode(found)  # half of a surrogate pair is no text
        return found

    def read(self) -> None:
        """Parse the object or list that begins here, to its end or that of the text."""
        text, length = self.text, len(self.text)
        while self.at < length:
            char = text[self.at]
            if char.isspace():
                self.at = skip_whitespace(text, self.at)
            elif char in "{[":
                self.begin({} if char == "{" else [])
            elif char in "}]":
                self.at += 1
                self.end(dict if char == "}" else list)
                if not self.open:
                    return
            elif char == ",":
                self.at += 1
                self.settle()
            elif char == ":":
                self.at += 1
                self.colons[-1] = True
            elif char == "#" or text.startswith(("//", "/*"), self.at):
                self.skip(*(("*/", 2) if text.startswith("/*", self.at) else ("\n", 1)))
            elif char in IN_QUOTES:
                self.add(self.quoted(IN_QUOTES[char]))
            else:
                self.add(self.bare())
        while self.open:
            self.close()

    def begin(self, made: Any) -> None:
        if len(self.open) >= MAX_DEPTH:
            raise RepairLimitExceeded
        began = self.at
        self.at += 1
        if self.open:
            self.add(made)
        self.open.append((made, began))
        self.names.append(None)
        self.colons.append(False)

    def add(self, value: Any) -> None:
        self.values += 1
        if self.values > MAX_VALUES:
            raise RepairLimitExceeded
        here, _ = self.open[-1]
        if isinstance(here, list):
            here.append(value)
            return
        name = self.names[-1]
        if name is None:
            if isinstance(value, dict | list):  # a value without a name: nothing says what it is
                return
            self.names[-1], self.colons[-1] = value if isinstance(value, str) else json.dumps(value), False
            return
        if name in here:
            raise ValueError("a name is there twice")
        here[name] = value
        self.names[-1] = None

    def end(self, kind: type) -> None:
        """Close all containers up to the innermost of this kind; an unmatched bracket is ignored."""
        if any(isinstance(here, kind) for here, _ in self.open):
            while not isinstance(self.open[-1][0], kind):
                self.close()
            self.close()

    def settle(self) -> None:
        """Complete a key without a value: with a colon its value is an empty text, without one it is no key."""
        here, _ = self.open[-1]
        name = self.names[-1]
        if name is not None and self.colons[-1]:
            here.setdefault(name, "")
        self.names[-1] = None

    def close(self) -> None:
        self.settle()
        here, began = self.open.pop()
        self.names.pop()
        self.colons.pop()
        if self.open and here == {} and self.at >= len(self.text) and self.text[-1] != "}":
            outer, _ = self.open[-1]
            if isinstance(outer, list):  # an object of which only the bracket came
                outer.pop()
        if not self.open:
            self.found.append((isinstance(here, dict), self.at - began, here))

    def skip(self, end: str, size: int) -> None:
        found = self.text.find(end, self.at)
        self.at = found + size if found >= 0 else len(self.text)

    def quoted(self, stop: re.Pattern[str]) -> str:
        """Parse a quoted text. A quote that is not followed by what may follow a text belongs to the text."""
        text, start = self.text, self.at + 1
        is_name = isinstance(self.open[-1][0], dict) and self.names[-1] is None
        ends = KEY_ENDS if is_name else VALUE_ENDS
        at, escaped = start, False
        while True:
            found = stop.search(text, at)
            if found is None:
                self.at = len(text)
                return (unescaped(text[start:]) if escaped else text[start:]).rstrip()
            at = found.end()
            if found[0] == "\\":
                escaped = True
                at += 1
                continue
            after = skip_whitespace(text, at)
            if after >= len(text) or text[after] in ends or "\n" in text[at:after] or self.follows(at, after):
                self.at = at
                said = text[start : at - 1]
                return unescaped(said) if escaped else said

    def follows(self, at: int, after: int) -> bool:
        """Return True if the next value or key begins after a quote: a comma is missing."""
        if after == at or self.text[after] not in "\"'":
            return False
        return isinstance(self.open[-1][0], list) or NEXT_NAME.match(self.text, at) is not None

    def bare(self) -> Any:
        """Parse an unquoted token: a number, a literal of JSON or Python, or a text."""
        number = NUMBER.match(self.text, self.at)
        if number:
            self.at = number.end()
            sign, digits, power = number.groups()
            whole = digits.isdigit() and not power
            return int(sign + digits) if whole else float(sign + digits + (power or ""))
        found = BREAK.search(self.text, self.at)
        start, self.at = self.at, found.start() if found else len(self.text)
        said = self.text[start : self.at].strip()
        if said in WORDS:
            return WORDS[said]
        return said.strip("\"'")


def skip_whitespace(text: str, at: int) -> int:
    """Return the end of the whitespace that begins at `at`."""
    blank = SPACE.match(text, at)
    return blank.end() if blank else at


def unescaped(said: str) -> str:
    try:
        return json.loads(f'"{said}"', strict=False)
    except ValueError:
        return ESCAPE.sub(meant, said)


def meant(escape: re.Match[str]) -> str:
    word = escape[1]
    if len(word) == 5:
        return chr(int(word[1:], 16))
    return word if word in "\"'\\/" else ESCAPES.get(word, escape[0])
