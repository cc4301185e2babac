"""Arguments of the provider classes: keywords of a call, and validation of the constructor's arguments."""

from __future__ import annotations

import re
from typing import Any

from headrace.chat.options import OptionParams
from headrace.chat.provider_table import Provider
from headrace.errors import InputError
from headrace.jobs.build import Tools
from headrace.text.masking import masked
from headrace.text.quoting import quoted
from headrace_providers.retry import NO_RETRY, Retry, from_environment

OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
LABEL = r"[a-z0-9]+(?:-[a-z0-9]+)*"
PLAIN_URL = re.compile(
    rf"https?://(?:(?:{LABEL}\.)*[a-z][a-z0-9]*(?:-[a-z0-9]+)*|{OCTET}(?:\.{OCTET}){{3}})(?::\d{{1,5}})?(?:/[!-~]{{0,1000}})?",
    re.IGNORECASE | re.ASCII,
)
"""Addresses whose host is a name in ASCII or an IPv4 address."""


class TypedParserNotFoundError(InputError):
    """There is no parser of that name."""


class CallParams(OptionParams, total=False):
    """Keyword arguments of a direct call beside its messages. `generation_schema` is a type or JSON Schema for the answer,
    or a flow control; `tool_definitions` are functions, schemas or `ToolDefinitions`; `typed_parser` is the name of a
    parser. Options override the model's own; `extra_body` is merged over its, key by key."""

    system_prompt: str | None
    prefilling: str | None
    generation_schema: Any
    tool_definitions: Tools | None
    typed_parser: str | None


def checked_url(given: Any, facts: Provider) -> str:
    """Return a base URL without a slash at its end. Raises `InputError`."""
    if not is_address(given):
        raise InputError(
            f"{facts.name}: base_url={quoted(masked(str(given)))} is no URL of http or https; see {facts.base_url_variable}"
        )
    return str(given).rstrip("/")


def is_address(url: Any) -> bool:
    """Return True if it is a URL of http or https that has a host."""
    if isinstance(url, str) and PLAIN_URL.fullmatch(url):
        return True
    import httpx2  # for the few that have a user, an IPv6 address or a name in other scripts: to import it takes long

    try:
        parts = httpx2.URL(url or "")
        return parts.scheme in ("http", "https") and bool(parts.host)
    except (httpx2.InvalidURL, TypeError, ValueError):
        return False


def checked_key(key: Any, facts: Provider) -> str:
    """Return a credential that a header can hold. Raises `InputError` naming its variable, without showing it."""
    if not key:
        raise InputError(f"{facts.name}: no key. Set {facts.key_variable}, or give `api_key`")
    if not isinstance(key, str) or not key.isascii() or not key.isprintable() or " " in key:
        raise InputError(f"{facts.name}: the key holds a character that no key has, or is no text")
    return key


def checked_retry(retry: Any) -> Retry:
    """Return the retry policy: the default and the environment's for None, one attempt for False. Raises `InputError`."""
    if retry is not None and not isinstance(retry, Retry | bool):
        raise InputError(f"retry={quoted(retry)}: must be a headrace_providers.retry.Retry, False, or None")
    return retry if isinstance(retry, Retry) else NO_RETRY if retry is False else from_environment()


def checked_size(size: Any) -> int | None:
    """Return a cache's bound. Raises `InputError`."""
    if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 0):
        raise InputError(f"cache_size={quoted(size)}: must be a whole number, 0 for no cache, or None for no bound")
    return size
