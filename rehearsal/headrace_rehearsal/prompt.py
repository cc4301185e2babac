"""The prompt as the stand-in reads it: its sentences, words, numbers, and what stands in it behind a field's name."""

from __future__ import annotations

import math
import re
from functools import cached_property, lru_cache
from typing import Any

READ_CHARS = 20_000  # of a prompt: what is longer is counted, not quoted
URL = re.compile(r"https?://[^\s<>\"'`)\]}|]+")
WORD = re.compile(r"[^\W_](?:[\w+-]*[^\W_])?")
PART = re.compile(r"[^\W_]+")
VERSION = re.compile(r"\b\d+\.\d+(?:\.\d+)?\b")
NUMBER = re.compile(r"(?<![\w.])-?\d{1,12}(?:\.\d{1,6})?(?![\w.]*\w)")
EMAIL = re.compile(r"\b[\w.+-]+@[\w-]+\.[\w.-]*\w")
LICENCE = re.compile(
    r"\b(?:MIT|ISC|Unlicense|Zlib|Apache(?:-| License,? (?:Version )?)?2\.0|BSD(?:-[23]-Clause)?|"
    r"[AL]?GPL(?:-?v?\d(?:\.\d)?)?(?:\+|-only|-or-later)?|MPL(?:-| )2\.0|PSF(?:-2\.0)?|CC0(?:-1\.0)?)(?![\w-])"
)
SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")
LABELLED = re.compile(r"\w{0,2}[\"'*`]*[ \t]*(?:::|[:=])[ \t]*([^\n]{1,200})")
DEFINES = re.compile(r"\b(?:is|are) (?:an?|the)\b|\b(?:provides|helps|lets|library|framework)\b")
SUMMARY_NAMES = frozenset(("purpose", "summary", "description", "abstract", "overview"))
SHORT_NAMES = frozenset(
    ("name", "title", "kind", "type", "tag", "keyword", "category", "topic", "label", "author", "language", "id", "key")
)
PIECE = re.compile(r"\s*\S{1,24}|\s+")


def pieces(text: str) -> list[str]:
    """Split `text` into the portions a stream sends, word by word; joined they are `text` again."""
    return PIECE.findall(text)


def tokens(text: str) -> int:
    """Estimate the tokens, always the same: one for each 3.5 bytes of UTF-8."""
    return math.ceil(len(text.encode()) / 3.5)


@lru_cache(4096)
def name_words(name: str) -> list[str]:
    """Split `python_versions` or `pythonVersions` into `["python", "versions"]`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[^0-9A-Za-z]+", " ", name).lower().split()


class Prompt:
    """The last user message, and what can be quoted from it."""

    def __init__(self, text: str):
        self.text = text[:READ_CHARS]
        self._quotes: dict[str, tuple[list[str], bool]] = {}

    @cached_property
    def lower(self) -> str:
        lower = self.text.lower()
        return lower if len(lower) == len(self.text) else self.text  # a few letters grow; offsets must fit

    @cached_property
    def sentences(self) -> list[str]:
        parts = (part.strip(" \t\r*#>-`|") for part in SENTENCE_END.split(self.text))
        found = list(dict.fromkeys(part for part in parts if part))
        whole = [part for part in found if len(part.split()) > 3 and not part.endswith(":")]
        return whole or found or ["Nothing to quote."]

    @cached_property
    def words(self) -> list[str]:
        found = dict.fromkeys(WORD.findall(URL.sub(" ", self.text)))
        return [word for word in found if len(word) > 3 and not word[0].isdigit()] or list(found) or ["nothing"]

    @cached_property
    def vocabulary(self) -> set[str]:
        return set(PART.findall(self.lower))

    @cached_property
    def urls(self) -> list[str]:
        return list(dict.fromkeys(url.rstrip(".,;:!?*_") for url in URL.findall(self.text)))

    @cached_property
    def numbers(self) -> list[float | int]:
        return [float(text) if "." in text else int(text) for text in NUMBER.findall(self.text)]

    def labelled(self, name: str) -> list[str]:
        """Return what stands after the name of the field: `Licence: MIT`, `Development Status :: 4 - Beta`."""
        words = name_words(name)
        stem = [*words[:-1], words[-1].removesuffix("s")] if words else []
        labels = [" ".join(stem), *([stem[0]] if len(stem) > 1 else [])]
        labels += [label.replace("licence", "license") for label in labels if "licence" in label]
        found: dict[str, None] = {}
        for label in filter(None, labels):
            at = self.lower.find(label)
            for _ in range(20):
                if at < 0:
                    break
                if value := LABELLED.match(self.text, at + len(label)):
                    last = re.split(r"[.!?]\s|;", value[1].split(" :: ")[-1])[0].strip(" \t\r\"'*`,.")
                    found.update({last: None} if last else {})
                at = self.lower.find(label, at + 1)
            if found:
                break
        return list(found)

    def quotes(self, name: str) -> tuple[list[str], bool]:
        if name not in self._quotes:
            self._quotes[name] = self._quotes_for(name)
        return self._quotes[name]

    def _quotes_for(self, name: str) -> tuple[list[str], bool]:
        """Return texts fit for a field called `name`, best first, and whether they were found for it, not just taken."""
        words, found = name_words(name), []
        if any(word in ("url", "urls", "uri", "href", "link", "links", "homepage") for word in words):
            found = self.urls or ["https://example.com/" + self.words[0].lower()]
        elif any(word.startswith("version") for word in words):
            stated = [text for text in self.labelled(name) if text[0] in "<>=~!^0123456789"]
            found = stated or VERSION.findall(self.text)
        elif "email" in words:
            found = EMAIL.findall(self.text) or [self.words[0].lower() + "@example.com"]
        elif any(word.startswith("licen") for word in words):
            found = LICENCE.findall(self.text) or self.labelled(name)
        elif words:
            found = self.labelled(name)
        if found:
            return list(dict.fromkeys(found)), True
        if not words or not SHORT_NAMES.isdisjoint(word.removesuffix("s") for word in words):
            return self.words, False
        if not SUMMARY_NAMES.isdisjoint(words):
            return sorted(self.sentences, key=lambda text: not (DEFINES.search(text) and len(text) > 40)), False
        return sorted(self.sentences, key=lambda text: not any(word in text.lower() for word in words)), False

    def rank(self, options: list[Any], near: str = "") -> list[Any]:
        """Return `options`, those whose words occur in the prompt first; words of the text `near` by count most."""
        close = set(PART.findall(near.lower()))

        def score(option: Any) -> float:
            words = name_words(option) if isinstance(option, str) else []
            return -sum((word in self.vocabulary) + 9 * (word in close) for word in words) / max(len(words), 1)

        return sorted(options, key=score)
