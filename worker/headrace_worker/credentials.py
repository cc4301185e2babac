"""The credentials that this process calls with, and the one place that takes them out of whatever leaves it.

A provider may put the key it was called with into an error, a proxy into a field of an answer. Patterns know only the keys that
they were made for, so the values themselves are looked for.
"""

from __future__ import annotations

import re
from typing import Any, TypeGuard

import msgspec

MIN_SECRET = 6
"""Characters: what is shorter stands in ordinary words."""
HIDDEN = "…"
MAX_OF_JOBS = 1000
"""Secrets in headers of single jobs, of which the newest are remembered."""
CREDENTIAL_HEADER = re.compile(r"authori[sz]ation|api-?key|credential|secret|\b(?:auth|token|key)\b", re.IGNORECASE)
LOOKS_LIKE_ONE = re.compile(r"(sk-|gsk_|Bearer\s+)[A-Za-z0-9_\-.*]{6,}")
"""What providers show of a key that is none of ours: of another account, or cut in the middle by asterisks."""
SCHEME = re.compile(r"^(?:Bearer|Basic|Token)\s+", re.IGNORECASE)

_configured: dict[str, None] = {}
_of_jobs: dict[str, None] = {}


def remember(secret: str | None, *, default: str | None = None) -> None:
    """Take `secret` out of everything from now on, unless it is the public `default`."""
    if is_secret(secret, default):
        _configured[secret] = None


def remember_headers(headers: dict[str, str], *, default: str | None = None) -> None:
    """`remember` what stands in the headers of a job that hold credentials."""
    for name, value in headers.items():
        secret = SCHEME.sub("", value)
        if CREDENTIAL_HEADER.search(name) and is_secret(secret, default) and secret not in _configured:
            _of_jobs.pop(secret, None)
            _of_jobs[secret] = None
            if len(_of_jobs) > MAX_OF_JOBS:
                _of_jobs.pop(next(iter(_of_jobs)), None)


def is_secret(secret: str | None, default: str | None) -> TypeGuard[str]:
    return secret is not None and secret != default and len(secret) >= MIN_SECRET


def secrets() -> list[str]:
    """All of them, the longer ones first: one may be the beginning of another."""
    return sorted({**_configured, **_of_jobs}, key=len, reverse=True)


def scrub(text: str, *, most: int | None = None) -> str:
    """`text` without any credential, cut to `most` characters."""
    for secret in secrets():
        if secret in text:
            text = text.replace(secret, HIDDEN)
    text = LOOKS_LIKE_ONE.sub(rf"\1{HIDDEN}", text)
    return text if most is None or len(text) <= most else f"{text[:most]}{HIDDEN}"


def scrubbed(value: Any) -> Any:
    """A value of JSON without any credential in its texts and names."""
    if isinstance(value, str):
        return scrub(value)
    if isinstance(value, list):
        return [scrubbed(each) for each in value]
    if isinstance(value, dict):
        return {scrub(name) if isinstance(name, str) else name: scrubbed(each) for name, each in value.items()}
    return value


def holds_secret(value: Any) -> bool:
    """Whether a credential stands anywhere in a value of JSON: one look at its text."""
    try:
        text = msgspec.json.encode(value)
    except (ValueError, TypeError, OverflowError, RecursionError):
        return True
    return any(secret.encode() in text for secret in secrets())
