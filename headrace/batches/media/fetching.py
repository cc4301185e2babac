"""Media at an address on the web, fetched while the input is read. Where it leads is checked at every step, and what comes is
bounded."""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from functools import lru_cache
from urllib.parse import SplitResult, urljoin, urlsplit

from headrace.errors import InputError
from headrace.guards.public_address import public_addresses
from headrace.text.masking import masked
from headrace.text.quoting import shortened

MAX_REDIRECTS = 3
CONNECT_S = 10.0
TOTAL_S = 60.0
PIECE = 64 * 1024
PORTS = {"http": 80, "https": 443}


class PinnedConnection(http.client.HTTPConnection):
    """A connection to one of the addresses that were checked, whatever the name means by now; with `tls` the certificate is
    that of the name."""

    def __init__(self, host: str, port: int, addresses: list[str], tls: ssl.SSLContext | None):
        super().__init__(host, port, timeout=CONNECT_S)
        self._addresses = addresses
        self._tls = tls

    def connect(self) -> None:
        failure: OSError | None = None
        for address in self._addresses:
            try:
                self.sock = socket.create_connection((address, self.port), timeout=CONNECT_S)
                break
            except OSError as error:
                failure = error
        else:
            raise failure or OSError("no address")
        if self._tls is not None:
            self.sock = self._tls.wrap_socket(self.sock, server_hostname=self.host)


def fetched(url: str, max_bytes: int) -> bytes:
    """Return what lies at an address. Raises `InputError` for one that leads to this machine or its network, for an answer that
    is no success, and for more than `max_bytes`."""
    deadline = time.monotonic() + TOTAL_S
    for _ in range(MAX_REDIRECTS + 1):
        try:
            answer = _asked(urlsplit(url), max_bytes, deadline)
        except InputError as error:
            raise InputError(f"{shown(url)}: {error}") from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise InputError(
                f"{shown(url)}: cannot be fetched: {shortened(str(error)) or type(error).__name__}"
            ) from None
        if isinstance(answer, bytes):
            return answer
        url = urljoin(url, answer)
    raise InputError(f"{shown(url)}: leads on more than {MAX_REDIRECTS} times")


def _asked(url: SplitResult, max_bytes: int, deadline: float) -> bytes | str:
    """Return what one address answers with, or the address that it names instead."""
    if url.scheme not in PORTS or not url.hostname:
        raise InputError("is no address that begins with http:// or https://")
    if url.username is not None:
        raise InputError("has a name or a password in it; leave them out")
    port = url.port or PORTS[url.scheme]
    tls = default_tls() if url.scheme == "https" else None
    connection = PinnedConnection(url.hostname, port, public_addresses(url.hostname, port), tls)
    try:
        path = (url.path or "/") + (f"?{url.query}" if url.query else "")
        connection.request("GET", path, headers={"accept": "*/*", "user-agent": "headrace"})
        answer = connection.getresponse()
        if answer.status in (301, 302, 303, 307, 308) and (place := answer.getheader("location")):
            return place
        if answer.status != http.client.OK:
            raise InputError(f"answers with status {answer.status}")
        pieces, size = list[bytes](), 0
        while piece := answer.read1(PIECE):
            pieces.append(piece)
            size += len(piece)
            if size > max_bytes:
                raise InputError(f"has more than {max_bytes} bytes, the most a file may have")
            if time.monotonic() > deadline:
                raise InputError(f"did not end within {TOTAL_S:g} s")
        if answer.length:  # what its length said is still to come
            raise InputError("ended before its length")
        return b"".join(pieces)
    finally:
        connection.close()


@lru_cache(maxsize=1)
def default_tls() -> ssl.SSLContext:
    return ssl.create_default_context()


def shown(url: str) -> str:
    return shortened(masked(url))
