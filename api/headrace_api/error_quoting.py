"""Bound the quotes in error messages: 200 characters, without secrets."""

from __future__ import annotations

import re

from headrace.text.masking import masked
from headrace.text.quoting import MAX_QUOTED

MAX_CHARS = 2000
SHORT = 40
"""Length up to which a quote or a word counts as our own text."""
OBJECT = rf"[\[{{].{{{MAX_QUOTED},}}[\]}}]"
QUOTE = rf"'(?:[^'\\]|\\.){{{SHORT},}}'|\"(?:[^\"\\]|\\.){{{SHORT},}}\"|`[^`]{{{SHORT},}}`"
RUN = rf"[^\s'\"`=]{{{SHORT},}}"
GIVEN = re.compile(f"{OBJECT}|{QUOTE}|{RUN}", re.DOTALL)


def shorten_quotes(message: str, most: int = MAX_QUOTED) -> str:
    """Return `message` with its quotes cut to `most` characters in all, and with the secrets in addresses masked."""
    message = masked(message[: 2 * MAX_CHARS] + message[2 * MAX_CHARS :][-MAX_CHARS:])
    if len(message) <= most:
        return message
    rest = most

    def cut(found: re.Match[str]) -> str:
        nonlocal rest
        text = found[0]
        if len(text) <= rest:
            rest -= len(text)
            return text
        kept, rest = text[: max(0, rest - 2)], 0
        return f"{kept} …{text[-1]}"

    message = GIVEN.sub(cut, message)
    return message if len(message) <= MAX_CHARS else f"{message[:MAX_CHARS]} …"
