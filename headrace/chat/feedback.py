"""The messages of a re-ask: they tell a model in which places its answer does not fit the schema."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.chat.messages import Message

MAX_ANSWER_CHARS = 20_000
"""Characters of the invalid answer that are sent back to the model."""
MAX_SHOWN = 20


def feedback(answer: str | None, errors: Sequence[str]) -> list[Message]:
    """Return the next messages of the conversation: the model's own answer, and every place in it that does not fit."""
    listed = "\n".join(f"- {error}" for error in errors[:MAX_SHOWN])
    text = f"This answer does not fit what was asked for:\n{listed}\nGive the whole answer again, corrected, in the same form."
    said = (answer or "")[:MAX_ANSWER_CHARS]
    return [*([{"role": "assistant", "content": said}] if said else []), {"role": "user", "content": text}]
