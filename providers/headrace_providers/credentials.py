"""The credentials of this process, and the only place that redacts them in everything that leaves it.

A provider may quote its key in an error, a proxy in a field of an answer. Patterns match only known formats of keys, so the
values themselves are searched for.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, TypeGuard

import msgspec

from headrace.chat.completion import Completion
from headrace.text.masking import secrets_in

MIN_SECRET = 6
"""Minimal characters of a secret: shorter ones occur in ordinary words."""
MAX_WORD = 16
"""Maximal length up to which a secret of letters alone counts as a word."""
HIDDEN = "…"
MAX_DEPTH = 100
MAX_KEPT = 1 << 20
"""Maximal bytes that are stored of a side field that cannot be read."""
MAX_OF_JOBS = 1000
"""Maximal number of remembered secrets from headers of single jobs; the newest are kept."""
CREDENTIAL_HEADER = re.compile(r"authori[sz]ation|api-?key|credential|secret|\b(?:auth|token|key)\b", re.IGNORECASE)
LOOKS_LIKE_ONE = re.compile(r"(sk-|gsk_|Bearer\s+)[A-Za-z0-9_\-.*]{6,}")
"""Keys in a provider's text that are none of ours: of another account, or partly masked."""
SCHEME = re.compile(r"^(?:Bearer|Basic|Token)\s+", re.IGNORECASE)

_configured: dict[str, None] = {}
_of_jobs: dict[str, None] = {}


def remember(secret: str | None, *, default: str | None = None) -> None:
    """Redact `secret` from now on, unless it is the public `default`."""
    if is_secret(secret, default):
        _configured[secret] = None


def remember_endpoint(key: str | None, base_url: str, headers: dict[str, str], *, default: str | None) -> None:
    """Redact the key and the headers of a model's calls, and the secrets in its address."""
    remember(key, default=default)
    for secret in secrets_in(base_url):
        remember(secret)
    remember_headers(headers, default=default)


def remember_headers(headers: dict[str, str], *, default: str | None = None) -> None:
    """Redact the credentials in the headers of a job."""
    for name, value in headers.items():
        secret = SCHEME.sub("", value)
        if CREDENTIAL_HEADER.search(name) and is_secret(secret, default) and secret not in _configured:
            _of_jobs.pop(secret, None)
            _of_jobs[secret] = None
            if len(_of_jobs) > MAX_OF_JOBS:
                _of_jobs.pop(next(iter(_of_jobs)), None)


def is_secret(secret: str | None, default: str | None) -> TypeGuard[str]:
    return secret is not None and secret != default and len(secret) >= MIN_SECRET


def secrets(*, words: bool = True) -> list[str]:
    """Return all secrets, the longer ones first: one may be a prefix of another. Without `words` those that a model may say
    by itself are left out: a local server's key is often a word."""
    known = sorted({**_configured, **_of_jobs}, key=len, reverse=True)
    return known if words else [secret for secret in known if not is_word(secret)]


def is_word(secret: str) -> bool:
    """Return True for a secret that a model may say by itself."""
    return secret.isalpha() and len(secret) <= MAX_WORD


def scrub(text: str, *, most: int | None = None, words: bool = True) -> str:
    """Redact `text` and cut it to `most` characters."""
    for secret in secrets(words=words):
        if secret in text:
            text = text.replace(secret, HIDDEN)
    text = LOOKS_LIKE_ONE.sub(rf"\1{HIDDEN}", text)
    return text if most is None or len(text) <= most else f"{text[:most]}{HIDDEN}"


def scrubbed(value: Any, *, depth: int = MAX_DEPTH, words: bool = True) -> Any:
    """Redact the texts and keys of a JSON value, and cut it at `depth` levels."""
    if isinstance(value, str):
        return scrub(value, words=words)
    if not isinstance(value, list | dict):
        return value
    if depth <= 0:
        return HIDDEN
    if isinstance(value, list):
        return [scrubbed(each, depth=depth - 1, words=words) for each in value]
    return {scrub(name, words=words): scrubbed(each, depth=depth - 1, words=words) for name, each in value.items()}


def holds_secret(value: Any) -> bool:
    """Return True if a JSON value contains a credential that is no word: one search in its text."""
    try:
        text = msgspec.json.encode(value)
    except (ValueError, TypeError, OverflowError, RecursionError):
        return True
    return is_in(text)


def is_in(text: bytes) -> bool:
    """Return True if a JSON text contains a credential that is no word."""
    return any(form in text for form in forms((*_configured, *_of_jobs)))


@lru_cache(maxsize=4)
def forms(known: tuple[str, ...]) -> tuple[bytes, ...]:
    """Return the credentials that are no words as they may stand in a JSON text: as they are, and escaped."""
    plain = [secret for secret in known if not is_word(secret)]
    return tuple({form: None for secret in plain for form in (secret.encode(), msgspec.json.encode(secret)[1:-1])})


def without_keys(completion: Completion) -> Completion:
    """Redact the completion, except for its text and its value."""
    choices = [completion, *completion.other_choices]
    fields = [beside(choice, BESIDE_CHOICE) for choice in choices] + beside(completion, BESIDE_ANSWER)
    try:
        text = msgspec.json.encode(fields)
    except (ValueError, TypeError, OverflowError, RecursionError):
        return completion  # it is written down without them
    if not is_in(text):
        return completion
    others = [scrub_fields(choice, BESIDE_CHOICE) for choice in completion.other_choices]
    return msgspec.structs.replace(scrub_fields(completion, BESIDE_CHOICE + BESIDE_ANSWER), other_choices=others)


def beside(said: Any, names: tuple[str, ...]) -> list[Any]:
    return [value for name in names if (value := getattr(said, name))]


def scrub_fields(said: Any, names: tuple[str, ...]) -> Any:
    fields = {name: scrubbed(getattr(said, name), words=False) for name in names}
    if calls := fields.get("tool_calls"):  # what a model calls a tool with is what it says, as its text is
        payloads = ({kind: call[kind] for kind in PAYLOADS if kind in call} for call in said.tool_calls)
        fields["tool_calls"] = [call | payload for call, payload in zip(calls, payloads, strict=True)]
    return msgspec.structs.replace(said, **fields)


PAYLOADS = ("function", "custom")


BESIDE_CHOICE = (
    *("finish_reason", "tool_calls", "reasoning_details", "audio", "annotations", "images", "citations", "logprobs"),
    *("stop_reason", "native_finish_reason", "extra", "raw", "notes"),
)
BESIDE_ANSWER = ("id", "model", "raw_usage", "provider", "service_tier", "system_fingerprint")


def kept(raw: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return side fields as they may be stored, and notes of the changes: bounded and redacted, since a proxy may put a
    request's headers there."""
    fields: dict[str, Any] = {}
    notes: list[str] = []
    for name, value in raw.items():
        try:
            size = len(msgspec.json.encode(value))
        except (ValueError, TypeError, OverflowError, RecursionError):
            size = MAX_KEPT + 1
        if size > MAX_KEPT:
            notes.append(f"{name}: left out, it is too large")
        else:
            fields[name] = scrubbed(value, words=False) if holds_secret(value) else value
            notes.append(f"{name}: kept as it came")
    return fields, notes
