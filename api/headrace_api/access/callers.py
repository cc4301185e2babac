"""Caller checks: no cross-site pages, no other names for this machine, nothing through an unannounced proxy.

A gateway that is open by default (*implicitly*) is for the programs of this machine. Behind a proxy on the same host it
would be open to the world, whose requests all come from loopback then.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable
from urllib.parse import urlsplit

from headrace_api.auth import Denied

FORWARDED = frozenset(
    {
        *(b"forwarded", b"via", b"x-real-ip", b"x-client-ip", b"x-cluster-client-ip", b"x-original-forwarded-for"),
        *(b"x-original-host", b"x-forwarded", b"true-client-ip", b"fastly-client-ip", b"fly-client-ip", b"cdn-loop"),
        *(b"x-azure-clientip", b"x-azure-socketip", b"x-appengine-user-ip", b"x-amzn-trace-id", b"x-proxyuser-ip"),
        *(b"client-ip", b"x-original-url", b"x-rewrite-url", b"x-amz-cf-id", b"x-amzn-request-id", b"x-host"),
    }
)
FORWARDED_PREFIXES = (b"x-forwarded-", b"cf-", b"x-envoy-", b"tailscale-", b"x-arr-", b"fly-", b"x-original-")
"""Prefixes of headers that proxies, load balancers and tunnels add, and clients do not."""


class CallerPolicy:
    """The rules of one gateway. `is_implicit`: it is open because it listens on loopback, without a setting.

    `origins` are those of the pages that may use it (`https://app.example`); their hosts are names that it answers to.
    """

    def __init__(self, *, is_open: bool, is_implicit: bool = False, origins: Collection[str] = ()):
        self._is_open = is_open
        self.is_implicit = is_implicit
        self._origins = frozenset(origins)
        self._hosts = frozenset(hostname(origin) for origin in origins)

    def check_proxy(self, headers: Iterable[tuple[bytes, bytes]], version: str = "1.1") -> None:
        """Raise `Denied` when a request with these headers (lower case) and this HTTP version reached an implicitly open
        gateway through a proxy. HTTP/1.0 is nginx's default towards its upstream, and no client's today."""
        if not self.is_implicit:
            return
        names = (name.replace(b"_", b"-") for name, _ in headers)
        marks = (name.decode("latin-1") for name in names if name in FORWARDED or name.startswith(FORWARDED_PREFIXES))
        mark = "HTTP/1.0" if version == "1.0" else next(marks, None)
        if mark is not None:
            raise Denied(
                f"came through a proxy ({mark:.40}), and this gateway is open to its own machine "
                "alone. For others: HEADRACE_STREAM_SECRET and HEADRACE_GATEWAY_OPEN=0 (docs/operations.md, Behind a proxy)",
                missing=False,
            )

    def check(self, host: str, origin: str | None, local_address: str | None) -> None:
        """Refuse cross-site pages, and at an open gateway host names that anybody may have made up.

        `local_address` is the address that the connection came to. A page whose own name resolves to the gateway (DNS
        rebinding) sends that name as its `Host`. So loopback's names are valid for connections over loopback, and elsewhere
        an address, which no page's name can be. Raises `Denied`.
        """
        if self._is_open:
            name = hostname(f"//{host}")
            if name not in self._hosts and not is_ours(name, local_address):
                raise Denied(
                    f"an open gateway answers to localhost on its own machine, to its address elsewhere, and to the hosts of "
                    f"HEADRACE_GATEWAY_ORIGINS; not to {host!r:.80}",
                    missing=False,
                )
        if origin is None or origin in self._origins:
            return
        if not host or network(origin) != host:
            raise Denied(
                f"pages of {origin!r:.80} may not use this gateway; see HEADRACE_GATEWAY_ORIGINS", missing=False
            )


def is_ours(name: str | None, local_address: str | None) -> bool:
    """Return True if no page of another site can have this host name, for a connection that came to `local_address`."""
    if not name:
        return False
    over_loopback = local_address is None or is_loopback(local_address)
    if name == "localhost" or name.endswith(".localhost"):
        return over_loopback
    try:
        unspecified = ipaddress.ip_address(name).is_unspecified
    except ValueError:
        return False
    return (is_loopback(name) or unspecified) == over_loopback


def is_loopback(address: str) -> bool:
    """Return True if an IP address is a loopback address, also an IPv4 one mapped to IPv6."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return (mapped or ip).is_loopback


def network(url: str) -> str | None:
    """Return host and port, as they stand there."""
    try:
        return urlsplit(url).netloc
    except ValueError:
        return None


def hostname(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
