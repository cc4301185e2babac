"""OpenRouter."""

from __future__ import annotations

from typing import Any

from headrace.chat.options import merged_plugins
from headrace.chat.provider_table import PROVIDERS, Provider, is_openai_vendor
from headrace.jobs.job import Job
from headrace.logs import get_logger
from headrace_providers.chat_completion import ChatCompletion
from headrace_providers.wire.request import Body

log = get_logger("headrace.providers.openrouter")

PLUGIN_KEYS = frozenset(
    {
        "enabled",
        "engine",
        "mode",
        "max_results",
        "max_uses",
        "search_prompt",
        "include_domains",
        "exclude_domains",
        "user_location",
    }
)


def adapt(body: Body, job: Job, provider: Provider) -> Body:
    """Return the body with reasoning as one object, and web search as a plug-in unless the model is one of OpenAI's own."""
    reasoning: dict[str, Any] = {}
    for option, key in (
        ("reasoning_effort", "effort"),
        ("reasoning_max_tokens", "max_tokens"),
        ("enable_thinking", "enabled"),
    ):
        value = body.pop(option, None)
        if value is not None:
            reasoning[key] = value
    if reasoning:
        body["reasoning"] = {**body.get("reasoning", {}), **reasoning}
    if "tools" in body:
        body.setdefault("tool_choice", "auto")
    if "web_search_options" in body and not is_openai_vendor(body["model"]):
        web = {"id": "web"} | plugin_options(body.pop("web_search_options"))
        body["plugins"] = merged_plugins(body.get("plugins", []), [web])
    return body


def plugin_options(options: dict[str, Any]) -> dict[str, Any]:
    """Return OpenAI's web-search options as the plug-in has them: a flat location, no `search_context_size` (conformance 43)."""
    unknown = sorted(options.keys() - PLUGIN_KEYS)
    if unknown:
        log.warning("web search options left out: the plug-in does not take them", options=unknown)
    kept = {name: value for name, value in options.items() if name in PLUGIN_KEYS}
    location = kept.get("user_location")
    if isinstance(location, dict) and isinstance(location.get("approximate"), dict):
        flat = {name: value for name, value in location.items() if name != "approximate"}
        kept["user_location"] = flat | location["approximate"]
    return kept


class OpenRouterChatCompletion(ChatCompletion):
    """A model behind OpenRouter (`OPENROUTER_API_KEY`); `model_id` is its slug, `vendor/model`."""

    facts = PROVIDERS["openrouter"]
    adapt = staticmethod(adapt)
