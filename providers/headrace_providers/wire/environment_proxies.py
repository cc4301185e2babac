"""The proxies that the environment names: `HTTPS_PROXY`, `HTTP_PROXY`, and `NO_PROXY` for hosts that are reached without."""

from __future__ import annotations

from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp

from headrace.errors import CallError
from headrace.text.masking import secrets_in
from headrace_providers.credentials import remember

MAX_ORIGINS = 64


class EnvironmentProxies:
    """What aiohttp is told of the proxy for a URL; the environment is read once for each origin."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], tuple[dict[str, Any], dict[str, str]]] = {}

    def words_for(self, url: str) -> tuple[dict[str, Any], dict[str, str]]:
        """Return the arguments of a request by way of the proxy, and headers that it has beside its own. Raises `CallError` for
        a variable that names no proxy."""
        parts = urlsplit(url)
        origin = parts.scheme, parts.netloc
        if origin not in self._known:
            if len(self._known) >= MAX_ORIGINS:
                self._known.clear()
            self._known[origin] = words_of(parts.scheme, parts.hostname or "")
        return self._known[origin]


def words_of(scheme: str, host: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the arguments and headers of a request to `host` by way of the proxy for `scheme`."""
    address = getproxies().get(scheme)
    if not address or proxy_bypass(host):
        return {}, {}
    parts = parts_of(address if "://" in address else f"http://{address}")
    if parts is None:
        raise CallError(
            "connection",
            f"{scheme.upper()}_PROXY is no address of a proxy, as http://host:port",
            details={"unreachable": True},
        )
    proxy = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    if parts.username is None:
        return {"proxy": proxy}, {}
    for secret in secrets_in(urlunsplit(parts)):
        remember(secret)
    credential = aiohttp.encode_basic_auth(unquote(parts.username), unquote(parts.password or ""))
    header = {"Proxy-Authorization": credential}
    # A tunnel's own request has it, and the provider must not; without a tunnel it is a header of the request.
    return ({"proxy": proxy, "proxy_headers": header}, {}) if scheme == "https" else ({"proxy": proxy}, header)


def parts_of(address: str) -> SplitResult | None:
    """Return the parts of a URL of http that has a host; None for anything else."""
    try:
        parts = urlsplit(address)
        return parts if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 else None
    except ValueError:
        return None
