"""The proxies that the environment names: `HTTPS_PROXY`, `HTTP_PROXY`, and `NO_PROXY` for hosts that are reached without."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp

from headrace.errors import CallError
from headrace.text.masking import secrets_in
from headrace_providers.credentials import remember

MAX_ORIGINS = 64
PORTS = {"http": 80, "https": 443}


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
            self._known[origin] = words_of(parts)
        return self._known[origin]


def words_of(url: SplitResult) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the arguments and headers of a request to `url` by way of the proxy for its scheme."""
    scheme, host = url.scheme, url.hostname or ""
    proxies = getproxies()
    address = proxies.get(scheme)
    port = url.port or PORTS.get(scheme)
    if not address or is_exempt(host, port, proxies.get("no", "")) or proxy_bypass(host):
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


def is_exempt(host: str, port: int | None, no_proxy: str) -> bool:
    """Return whether `NO_PROXY` names a host: `*`, a domain with all below it (`example.com`, `.example.com`,
    `*.example.com`), an address, a network (`10.0.0.0/8`), each but a network also with a port."""
    for entry in no_proxy.lower().split(","):
        name, _, only = entry.strip().partition("]") if entry.strip().startswith("[") else ("", "", entry.strip())
        if name:
            name, only = name[1:], only.removeprefix(":")
        elif only.count(":") == 1:
            name, _, only = only.partition(":")
        else:
            name, only = only, ""
        if not name or (only and only != str(port)):
            continue
        name = name.removeprefix("*" if name != "*" else "").removeprefix(".")
        if name == "*" or host == name or host.endswith(f".{name}") or is_within(host, name):
            return True
    return False


def is_within(host: str, network: str) -> bool:
    """Return whether a host is an address of a network."""
    try:
        return ip_address(host) in ip_network(network, strict=False)
    except ValueError:
        return False


def parts_of(address: str) -> SplitResult | None:
    """Return the parts of a URL of http that has a host; None for anything else."""
    try:
        parts = urlsplit(address)
        return parts if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 else None
    except ValueError:
        return None
