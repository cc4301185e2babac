"""The addresses that a URL out of somebody's data may lead to: those of the public internet. Anything else could be a service of
this machine or of its network, which answers whoever asks from within."""

from __future__ import annotations

import ipaddress
import socket

from headrace.errors import InputError
from headrace.text.quoting import quoted

NAT64 = ipaddress.ip_network("64:ff9b::/96")
"""Addresses of IPv6 that a network translates to those of IPv4 at their end."""


def is_public(address: str) -> bool:
    """Return True for an IP address of the public internet."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    inner = getattr(ip, "ipv4_mapped", None) or getattr(ip, "sixtofour", None)
    if ip in NAT64:
        inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    if inner is not None and not inner.is_global:
        return False
    return ip.is_global and not ip.is_multicast


def public_addresses(host: str, port: int) -> list[str]:
    """Return the addresses of `host`. Raises `InputError` for one that is not known, and where any of them is not public: the
    connection is made to one of these, so that a name cannot mean something else a moment later."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise InputError(
            f"the host {quoted(host)} is not known ({getattr(error, 'strerror', None) or error})"
        ) from None
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    for address in addresses:
        if not is_public(address):
            raise InputError(
                f"the host {quoted(host)} is {address}, which is not on the public internet: it is not fetched; save the file, "
                "and give its path"
            )
    return addresses
