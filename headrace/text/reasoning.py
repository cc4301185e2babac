"""How models and servers mark reasoning: fields of a message, parts of its content, and marks within its text."""

from __future__ import annotations

REASONING_FIELDS = ("reasoning_content", "reasoning", "thinking", "reasoning_text")
"""Fields of a message in which providers give the text of a model's reasoning; the first that is there counts."""
THINKING_PART, HIDDEN_PART = "thinking", "redacted_thinking"
"""Types of Anthropic's parts of content, with a signature or encrypted."""
REASONING_PARTS = frozenset({THINKING_PART, "reasoning", "reasoning_text", "thought", "summary_text"})
"""Types of parts of content that hold reasoning as text."""
KEPT_PARTS = "thinking_parts"
"""Key in `extra` of the parts of a content that are reasoning, when they are signed or hidden."""
OPENING_MARKS = ("<think>", "<thinking>", "<thought>", "<seed:think>", "[THINK]", "◁think▷", "<|channel|>analysis")
CLOSING_MARKS = (
    *("</think>", "</thinking>", "</thought>", "</seed:think>", "[/THINK]", "◁/think▷"),
    "<|channel|>final<|message|>",
)
"""Marks within a text that no parser of a server has taken out: Qwen and DeepSeek, others, Seed, Magistral, Kimi, gpt-oss."""


def without_reasoning(text: str) -> str:
    """Return the text after the last closing mark, also where the opening one was part of the prompt. A thought that was begun
    and never closed is all there is: nothing is left then."""
    end = max(text.rfind(mark) + len(mark) if mark in text else 0 for mark in CLOSING_MARKS)
    left = text[end:].lstrip()
    return "" if left.startswith(OPENING_MARKS) else left if end else text
