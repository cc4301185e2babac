"""The tokens that a call will take, estimated before it is made; what calls have taken corrects the next estimates."""

from __future__ import annotations

from typing import Any

from headrace.chat.completion import Usage
from headrace.jobs.job import Job

TOKENS_PER_CHARACTER = 0.25
FIRST_ANSWER = 256
"""Tokens of an answer while none has come yet, and the call sets no smaller maximum."""
MEDIA_CHARACTERS = 4_000
"""Characters that a part which is no text counts for."""
LEARNING = 0.1
MIN_CHARACTERS = 16


class TokenEstimate:
    """The ratio of tokens to characters and the usual answer at one model of a deployment."""

    def __init__(self) -> None:
        self._ratio: float | None = None
        self._answer: float | None = None

    def of(self, job: Job) -> int:
        """Return the tokens of prompt and answer together that `job` is expected to take."""
        most = job.options.max_tokens
        answer = FIRST_ANSWER if self._answer is None else self._answer
        ratio = TOKENS_PER_CHARACTER if self._ratio is None else self._ratio
        return max(1, round(characters_of(job) * ratio + (answer if most is None else min(answer, most))))

    def learn(self, job: Job, usage: Usage) -> None:
        """Take account of what a call of `job` has taken."""
        ratio = usage.input_tokens / characters_of(job)
        first = self._ratio is None or self._answer is None
        self._ratio = ratio if self._ratio is None else self._ratio + LEARNING * (ratio - self._ratio)
        answer = usage.output_tokens
        self._answer = answer if first or self._answer is None else self._answer + LEARNING * (answer - self._answer)


def characters_of(job: Job) -> int:
    return max(MIN_CHARACTERS, sum(length_of(message.get("content")) for message in job.messages))


def length_of(content: Any) -> int:
    if isinstance(content, str):
        return len(content)
    if not isinstance(content, list):
        return 0
    texts = [part.get("text") if isinstance(part, dict) else None for part in content]
    return sum(len(text) if isinstance(text, str) else MEDIA_CHARACTERS for text in texts)
