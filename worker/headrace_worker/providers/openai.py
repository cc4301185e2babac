"""OpenAI itself."""

from __future__ import annotations

from headrace.facts import PROVIDERS
from headrace_worker.providers.chat import ChatCompletion


class OpenAIChatCompletion(ChatCompletion):
    """A model of OpenAI's chat-completions API."""

    facts = PROVIDERS["openai"]


class RehearsalChatCompletion(OpenAIChatCompletion):
    """The built-in stand-in, which speaks the same API."""

    facts = PROVIDERS["rehearsal"]
