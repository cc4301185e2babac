"""Factories from `provider/model` to a provider object: `Model` for direct calls, `Registry` for a worker process."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from headrace.chat.provider_table import Provider, providers, split_model
from headrace.errors import CallError, InputError
from headrace.text.quoting import quoted
from headrace_providers.chat_completion import ChatCompletion
from headrace_providers.configuration import words_of
from headrace_providers.credentials import remember
from headrace_providers.openai import OpenAIChatCompletion, RehearsalChatCompletion
from headrace_providers.openrouter import OpenRouterChatCompletion
from headrace_providers.retry import Retry
from headrace_providers.transport_choice import transport_of
from headrace_providers.vllm import VLLMChatCompletion
from headrace_providers.wire.transport import Deadlines, Transport

CLASSES: dict[str, type[ChatCompletion]] = {
    "openai": OpenAIChatCompletion,
    "vllm": VLLMChatCompletion,
    "openrouter": OpenRouterChatCompletion,
    "rehearsal": RehearsalChatCompletion,
}
MAX_MODELS = 256


def class_of(facts: Provider) -> type[ChatCompletion]:
    """Return the class of a built-in provider, or of a registered one's dialect."""
    return CLASSES.get(facts.name) or CLASSES[facts.dialect]


class Model:
    """The factory of direct calls."""

    @staticmethod
    def chat_completion(model: str, **words: Any) -> ChatCompletion:
        """Return the object for `provider/model`, a built-in provider's or one of `HEADRACE_PROVIDERS`; `words` as its class
        takes them. Raises `InputError` naming the providers there are."""
        if not isinstance(model, str):
            raise InputError(f"model={quoted(model)}: write `provider/model`")
        rows = providers(os.environ)
        name, model_id = split_model(model, rows)
        return class_of(rows[name])(model_id, facts=rows[name], **words)

    @staticmethod
    def from_config(config: Mapping[str, Any], **words: Any) -> ChatCompletion:
        """Return what `serialize()` described; the key comes from the environment, or `api_key`. Raises `InputError`."""
        provider, model_id, given = words_of(config)
        return Model.chat_completion(f"{provider}/{model_id}", **given, **words)


class Registry:
    """The providers that this process can reach. Credentials come from the environment and stay here.

    One transport per provider, made on first use; one object per model, the last `MAX_MODELS` of them.
    """

    def __init__(self, deadlines: Deadlines, environ: Mapping[str, str] | None = None, connections: int = 1000):
        self._deadlines = deadlines
        self._environ = os.environ if environ is None else environ
        self._connections = connections
        self._rows = providers(self._environ)
        self._new_transport = transport_of(self._environ)
        self._transports: dict[str, Transport] = {}
        self._models: dict[tuple[str, bool], ChatCompletion] = {}
        for facts in self._rows.values():
            remember(facts.key(self._environ), default=facts.default_key)

    @property
    def rows(self) -> Mapping[str, Provider]:
        """The providers that are known here, by name."""
        return self._rows

    def configured(self) -> list[str]:
        """Return the names of the providers whose address and key are known here."""
        return [
            name
            for name, facts in self._rows.items()
            if (name not in CLASSES or facts.given(self._environ))
            and facts.address(self._environ)
            and facts.key(self._environ)
        ]

    def lacking(self) -> dict[str, str]:
        """Return the providers that cannot be called, with what is missing."""
        return {name: why for name, facts in self._rows.items() if (why := self._lacking(facts))}

    def usable(self) -> list[str]:
        """Return the names of all other known providers."""
        return [name for name in self._rows if not self._lacking(self._rows[name])]

    def _lacking(self, facts: Provider) -> str:
        if not facts.address(self._environ):
            return f"{facts.base_url_variable} is not set"
        return "" if facts.key(self._environ) else f"{facts.key_variable} is not set"

    def chat_completion(self, model: str, *, retry: bool = True) -> ChatCompletion:
        """Return the object for `provider/model`. Raises `CallError` when this worker has no address or key for it."""
        made = self._models.get((model, retry))
        if made is None:
            if len(self._models) >= MAX_MODELS:
                self._models.pop(next(iter(self._models)))
            made = self._models[model, retry] = self._make(model, retry=retry)
        return made

    def _make(self, model: str, *, retry: bool) -> ChatCompletion:
        try:
            name, model_id = split_model(model, self._rows)
        except InputError as error:
            raise CallError("no_deployment", f"this worker does not know the provider: {error}") from None
        facts = self._rows[name]
        base_url, key = facts.address(self._environ), facts.key(self._environ)
        if not base_url:
            raise CallError("no_deployment", f"{name}: {facts.base_url_variable} is not set where this worker runs")
        if not key:
            raise CallError("auth", f"{name}: {facts.key_variable} is not set where this worker runs")
        if name not in self._transports:
            self._transports[name] = self._new_transport(deadlines=self._deadlines, connections=self._connections)
        return class_of(facts)(
            model_id,
            facts=facts,
            base_url=base_url,
            api_key=key,
            retry=Retry() if retry else False,
            deadlines=self._deadlines,
            transport=self._transports[name],
        )

    async def close(self) -> None:
        for transport in self._transports.values():
            await transport.close()
