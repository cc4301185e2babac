"""Mask secrets in addresses: messages, log lines and `repr` contain no address with its credentials."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

HIDDEN = "***"
USER = re.compile(r"(?P<scheme>\b[A-Za-z][A-Za-z0-9+.\-]{0,30}://)(?P<user>[^\s'\"<>]*)@")
"""A user and a password before a host. The last `@` ends them: a password may hold one, or a slash, though it should not."""
PARAMETER = re.compile(
    r"(?P<name>[?&;](?:[\w.\-]*(?:key|token|secret|passw(?:or)?d|pwd|credential|signature|auth)[\w.\-]*|sig|code|pass|st)=)"
    r"(?P<value>[^&;#\s'\"<>]+)",
    re.IGNORECASE,
)
"""A parameter of a query whose name says that it is a secret: `api_key`, `subscription-key`, `X-Amz-Signature`."""


def masked(text: str) -> str:
    """Return `text` with every password and token in its addresses masked: `redis://:***@host`,
    `https://host/v1?api_key=***`.

    A user without a password is masked too: there it is a token.
    """
    if "://" in text:
        text = USER.sub(hide_user, text)
    return PARAMETER.sub(rf"\g<name>{HIDDEN}", text) if "=" in text else text  # also of an address that was cut


def secrets_in(url: str) -> list[str]:
    """Return the passwords and tokens in an address, as they are written there and decoded."""
    try:
        parts = urlsplit(url)
        found = [parts.password or parts.username or ""]
    except ValueError:
        found = []
    found += [match["value"] for match in PARAMETER.finditer(url)]
    return [*dict.fromkeys(form for secret in found if secret for form in (secret, unquote(secret)))]


def hide_user(match: re.Match[str]) -> str:
    user, colon, _ = match["user"].partition(":")
    return f"{match['scheme']}{user if colon else HIDDEN}{colon}{HIDDEN if colon else ''}@"
