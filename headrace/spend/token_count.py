"""The tokens of a text, counted without a vocabulary: by how the tokenizers of today's models cut texts up before they merge.

They cut at words, numbers, signs and spaces (the patterns of `cl100k_base` and `o200k_base`). Of each kind of piece it is known
how many tokens it takes on average; a model's own counts correct the sum (`forecast --sample`).
"""

from __future__ import annotations

import re

PIECES = re.compile(
    r"""(?P<word>(?:[^\r\n\w]|_)?[^\W\d_]+)|(?P<number>\d{1,3})|(?P<signs>[ ]?(?:[^\s\w]|_)+[\r\n]*)|(?P<spaces>\s*[\r\n]+|\s+)"""
)
LATIN = re.compile(r"[\x00-\u024f]+")
IDEOGRAPHIC = re.compile(r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
COMMON_CHARACTERS = 7
"""Characters of a word that are one token, in Latin letters; every `WORD_CHARACTERS` beyond them make another."""
WORD_CHARACTERS = 6.0
OTHER_CHARACTERS = 4.6
"""Characters of a token in other alphabets."""
IDEOGRAPHS = 1.55
"""Characters of a token in scripts that do not put spaces between words."""
SIGNS = 4.0
"""Signs of a token, beyond the first two."""
TOKENS_PER_MESSAGE = 4
TOKENS_PER_REQUEST = 3


def tokens_of(text: str) -> float:
    """Return about how many tokens `text` has."""
    total = 0.0
    for match in PIECES.finditer(text):
        kind, length = match.lastgroup, match.end() - match.start()
        if kind == "word":
            total += tokens_of_word(match[0], length)
        elif kind == "signs" and length > 2:
            total += 1 + (length - 2) / SIGNS
        else:
            total += 1
    return total


def tokens_of_word(word: str, length: int) -> float:
    if length <= COMMON_CHARACTERS and word.isascii():
        return 1.0
    if LATIN.fullmatch(word):
        return 1 + max(0.0, (length - 1 - COMMON_CHARACTERS) / WORD_CHARACTERS)
    if IDEOGRAPHIC.search(word):
        return max(1.0, length / IDEOGRAPHS)
    return max(1.0, length / OTHER_CHARACTERS)
