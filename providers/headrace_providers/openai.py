"""OpenAI itself, and the built-in stand-in, which speaks the same API."""

from __future__ import annotations

from headrace.chat.provider_table import PROVIDERS, Provider
from headrace.jobs.job import Job
from headrace_providers.chat_completion import ChatCompletion
from headrace_providers.wire.request import Body


def adapt(body: Body, job: Job, provider: Provider) -> Body:
    """Return the body unchanged: there is nothing beyond the table of providers."""
    return body


class OpenAIChatCompletion(ChatCompletion):
    """A model of OpenAI's chat-completions API (`OPENAI_API_KEY`)."""

    facts = PROVIDERS["openai"]
    adapt = staticmethod(adapt)


class RehearsalChatCompletion(OpenAIChatCompletion):
    """A model of the built-in stand-in (`REHEARSAL_BASE_URL`)."""

    facts = PROVIDERS["rehearsal"]
