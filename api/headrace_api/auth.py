"""Who may do what: stream tokens, origins, hosts.

A token is `hr1.<claims>.<mac>`, both parts base64url, the mac HMAC-SHA256 over `hr1.<claims>`. It is checked when a
connection is made; the connection may outlive it. Users' API keys are not here yet: a caller without a token is let in where
the gateway is open, which it is on loopback unless told otherwise.
"""

from __future__ import annotations

import base64
import hmac
import time
from collections.abc import Collection, Iterable
from typing import Any
from urllib.parse import urlsplit

import msgspec

VERSION = "hr1"
EVERY_JOB = "*"
READ, CANCEL, SUBMIT = "read", "cancel", "submit"
SCOPES = (READ, CANCEL, SUBMIT)
TOKEN_S = 60.0
STREAM_S = 3600.0
COOKIE = "headrace_token"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
MOST_TOKEN_CHARS = 2048


class Claims(msgspec.Struct, frozen=True):
    """What a token allows: `scope` on `job` (`*` for all) until `exp`, seconds since 1970; a connection that was made with it may
    last `max_stream` seconds. `sub` says for whom it was made."""

    job: str
    scope: list[str]
    exp: float
    sub: str = ""
    max_stream: float = STREAM_S


class Denied(Exception):
    """Not allowed. `missing` says that a fresh token would help (401, 4401), else it would not (403, 4403)."""

    def __init__(self, message: str, *, missing: bool):
        super().__init__(message)
        self.missing = missing


class Gate:
    """Signs and checks tokens with `secret`. `is_open`: callers without one are let in."""

    def __init__(self, secret: bytes, *, is_open: bool, origins: Collection[str] = ()):
        self._secret = secret
        self.is_open = is_open
        self._origins = frozenset(origins)
        self._hosts = {*LOOPBACK, *(hostname(origin) for origin in origins)}

    def sign(
        self, job: str, scope: Iterable[str], *, sub: str = "", lasts_s: float = TOKEN_S, max_stream_s: float = STREAM_S
    ) -> str:
        claims = msgspec.json.encode(Claims(job, list(scope), time.time() + lasts_s, sub, max_stream_s))
        text = f"{VERSION}.{as_text(claims)}"
        return f"{text}.{as_text(self._mac(text))}"

    def read(self, token: str) -> Claims:
        """The claims of a token that was signed here and has not expired. Raises `Denied`."""
        text, _, mac = token.rpartition(".")
        try:
            if len(token) > MOST_TOKEN_CHARS or not hmac.compare_digest(as_text(self._mac(text)), mac):
                raise ValueError
            claims = msgspec.json.decode(as_bytes(text.removeprefix(f"{VERSION}.")), type=Claims)
        except (ValueError, TypeError, msgspec.DecodeError):
            raise Denied("the token was not signed here", missing=True) from None
        if claims.exp < time.time():
            raise Denied("the token has expired; get a fresh one", missing=True)
        return claims

    def check(self, tokens: Iterable[str], job: str, scope: str) -> float | None:
        """Whether one of `tokens` allows `scope` on `job`; none at all is enough where the gateway is open. Returns how many
        seconds a connection may last, None without an end. Raises `Denied`."""
        claims = [self.read(token) for token in tokens]
        if not claims and not self.is_open:
            raise Denied(f"a token with the scope `{scope}` is needed here", missing=True)
        if not claims:
            return None
        allowing = [one.max_stream for one in claims if one.job in (job, EVERY_JOB) and scope in one.scope]
        if not allowing:
            raise Denied(f"the token does not allow `{scope}` here", missing=False)
        return max(allowing)

    def check_caller(self, host: str, origin: str | None) -> None:
        """Refuse pages of other sites, and on loopback other names for this machine (rebinding). Raises `Denied`."""
        if self.is_open and hostname(f"//{host}") not in self._hosts:
            raise Denied(f"an open gateway answers to localhost alone, not to {host!r:.80}", missing=False)
        if origin is None or origin in self._origins:
            return
        if network(origin) != host:
            raise Denied(
                f"pages of {origin!r:.80} may not use this gateway; see HEADRACE_GATEWAY_ORIGINS", missing=False
            )

    def _mac(self, text: str) -> bytes:
        return hmac.digest(self._secret, text.encode(), "sha256")


def tokens_of(headers: Any, query: Any, subprotocols: Iterable[str] = ()) -> list[str]:
    """Every token that came along: `Authorization: Bearer`, `Sec-WebSocket-Protocol: …, bearer.<token>`, `?st=`, the cookie."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    found = [token.strip()] if scheme.lower() == "bearer" and token.strip().startswith(f"{VERSION}.") else []
    found += [name.removeprefix("bearer.") for name in subprotocols if name.startswith("bearer.")]
    cookies = dict(part.strip().partition("=")[::2] for part in headers.get("cookie", "").split(";"))
    return found + [token for token in (query.get("st"), cookies.get(COOKIE)) if token]


def network(url: str) -> str | None:
    """Host and port, as they stand there."""
    try:
        return urlsplit(url).netloc
    except ValueError:
        return None


def hostname(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def as_text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def as_bytes(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
