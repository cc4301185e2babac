"""Scrape access: who may read `/metrics`. On loopback everyone of this machine, with the token everyone who has it."""

from __future__ import annotations

import hmac
import ipaddress


def has_token(authorization: str, token: str | None) -> bool:
    """Return True if the header `Authorization` holds the token."""
    scheme, _, given = authorization.strip().partition(" ")
    if token is None or scheme.lower() != "bearer":
        return False
    return hmac.compare_digest(given.strip().encode(errors="replace"), token.encode())


def names_loopback(host: str) -> bool:
    """Return True if the header `Host` names this machine by a name that no page of another site can have."""
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() and not host.endswith("]") else host
    name = name.strip("[]").lower()
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
