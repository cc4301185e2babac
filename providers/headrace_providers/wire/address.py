"""Addresses that no request can be sent to, told before one is tried: it is their setting that has to be put right."""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address
from urllib.parse import urlsplit

MAX_LABEL = 63


@lru_cache(maxsize=256)
def fault_of(url: str) -> str | None:
    """Return what is wrong with the address of a request, without showing it; None for one that can be called."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return "is no URL"
    if not url.isprintable() or parts.scheme not in ("http", "https") or not host or port == 0:
        return "is no URL of http or https with a host"
    if parts.username is not None:
        return "holds a user, which cannot be sent along with a key: leave it out"
    if re.fullmatch(r"[0-9.]+", host):
        try:
            IPv4Address(host)
        except AddressValueError:
            return "holds neither a name nor an IP address of four numbers"
    labels = host.removesuffix(".").split(".")
    if ":" not in host and any(not label or (label.isascii() and len(label) > MAX_LABEL) for label in labels):
        return "holds a name of a host that no host can have"
    return None
