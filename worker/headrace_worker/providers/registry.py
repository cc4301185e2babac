"""From `provider/model` to an object that answers; one per process, base URL and credential, made on first use."""

from __future__ import annotations

import os
from collections.abc import Mapping

from headrace.errors import CallError
from headrace.facts import PROVIDERS, Provider, split_model
from headrace_worker.providers.chat import ChatCompletion
from headrace_worker.providers.openai import OpenAIChatCompletion, RehearsalChatCompletion
from headrace_worker.transport import Deadlines, SdkTransport

CLASSES: dict[str, type[ChatCompletion]] = {"openai": OpenAIChatCompletion, "rehearsal": RehearsalChatCompletion}


class Registry:
    """The providers that this process can reach. Credentials come from the environment and stay here."""

    def __init__(self, deadlines: Deadlines, environ: Mapping[str, str] | None = None, connections: int = 1000):
        self._deadlines = deadlines
        self._environ = os.environ if environ is None else environ
        self._connections = connections
        self._transports: dict[str, SdkTransport] = {}

    def configured(self) -> list[str]:
        """Names of the providers whose address and key are known here."""
        return [name for name, facts in PROVIDERS.items() if self._base_url(facts) and self._key(facts)]

    def chat_completion(self, model: str, *, retry: bool = True) -> ChatCompletion:
        """The object for `provider/model`. Raises `CallError` when this worker has no address or key for it."""
        name, model_id = split_model(model)
        facts = PROVIDERS[name]
        base_url, key = self._base_url(facts), self._key(facts)
        if not base_url:
            raise CallError("no_deployment", f"{name}: {facts.base_url_variable} is not set where this worker runs")
        if not key:
            raise CallError("auth", f"{name}: {facts.key_variable} is not set where this worker runs")
        if name not in self._transports:
            self._transports[name] = SdkTransport(
                base_url=base_url, api_key=key, deadlines=self._deadlines, connections=self._connections
            )
        return CLASSES[name](model_id, base_url=base_url, api_key=key, retry=retry, transport=self._transports[name])

    async def close(self) -> None:
        for transport in self._transports.values():
            await transport.close()

    def _base_url(self, facts: Provider) -> str | None:
        return self._environ.get(facts.base_url_variable) or facts.base_url

    def _key(self, facts: Provider) -> str | None:
        return (self._environ.get(facts.key_variable) if facts.key_variable else None) or facts.default_key
