"""Parts of a call's tokens that have prices of their own: cached, sound, images. Read from the provider's usage object.

A part that cannot be read counts as none: its tokens are then paid as the text that they are counted with.
"""

from __future__ import annotations

from typing import Any

import msgspec

from headrace.chat.completion import Usage


class TokenParts(msgspec.Struct, frozen=True, omit_defaults=True):
    """Tokens among those of the input (`cached`, `cache_write`, `input_…`) or of the output; each is paid once."""

    cached: int = 0
    cache_write: int = 0
    input_audio: int = 0
    cached_audio: int = 0
    input_image: int = 0
    output_audio: int = 0
    output_image: int = 0
    reasoning: int = 0

    @property
    def is_text(self) -> bool:
        """Return True if nothing but cached tokens and reasoning is priced apart."""
        return not (
            self.cache_write
            or self.input_audio
            or self.cached_audio
            or self.input_image
            or self.output_audio
            or self.output_image
        )


def token_parts(usage: Usage, raw: dict[str, Any] | None) -> TokenParts:
    """Return the parts of `usage`, whose object `raw` the provider sent."""
    cached = min(usage.cached_tokens, usage.input_tokens)
    reasoning = min(usage.reasoning_tokens, usage.output_tokens)
    if not raw:
        return TokenParts(cached=cached, reasoning=reasoning)
    asked, answered = raw.get("prompt_tokens_details"), raw.get("completion_tokens_details")
    if not (asked or answered or "cache_creation_input_tokens" in raw):
        return TokenParts(cached=cached, reasoning=reasoning)
    left = usage.input_tokens - cached
    written = min(at(asked, "cache_write_tokens") or at(raw, "cache_creation_input_tokens"), left)
    cached_details = asked.get("cached_tokens_details") if isinstance(asked, dict) else None
    cached_audio = min(at(cached_details, "audio_tokens"), cached)
    audio = min(at(asked, "audio_tokens"), left - written + cached_audio)
    image = min(at(asked, "image_tokens"), max(0, left - written - (audio - cached_audio)))
    output_audio = min(at(answered, "audio_tokens"), usage.output_tokens)
    output_image = min(at(answered, "image_tokens"), usage.output_tokens - output_audio)
    return TokenParts(
        cached=cached,
        cache_write=written,
        input_audio=max(audio, cached_audio),
        cached_audio=cached_audio,
        input_image=image,
        output_audio=output_audio,
        output_image=output_image,
        reasoning=min(reasoning, usage.output_tokens - output_audio - output_image),
    )


def at(holder: Any, name: str) -> int:
    value = holder.get(name) if isinstance(holder, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
