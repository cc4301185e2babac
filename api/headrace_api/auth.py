"""Authorization: stream tokens, and access without one.

A token is `hr1.<claims>.<mac>`, both parts base64url, the mac HMAC-SHA256 over `hr1.<claims>`. It is verified when a
connection is made; the connection may outlive it. There are no API keys of users yet: a caller without a token is
authorized where the gateway is open, which is the default on loopback. Cross-site pages and proxies are checked in
`callers`.
"""

from __future__ import annotations

import base64
import hmac
import time
from collections.abc import Iterable
from typing import Any

import msgspec

VERSION = "hr1"
EVERY_JOB = "*"
READ, CANCEL, SUBMIT = "read", "cancel", "submit"
SCOPES = (READ, CANCEL, SUBMIT)
TOKEN_S = 60.0
STREAM_S = 3600.0
COOKIE = "headrace_token"
MAX_TOKEN_CHARS = 2048
UNSIGNED = "the token was not signed here"
EXPIRED = "the token has expired; get a fresh one"


class Claims(msgspec.Struct, frozen=True):
    """The claims of a token: `scope` on `job` (`*` for all) until `exp`, seconds since 1970; a connection that was made
    with it may last `max_stream` seconds. `sub` is the subject it was issued to."""

    job: str
    scope: list[str]
    exp: float
    sub: str = ""
    max_stream: float = STREAM_S


class Denied(Exception):
    """The caller is not authorized. `missing`: a fresh token would help (401, 4401), else it would not (403, 4403)."""

    def __init__(self, message: str, *, missing: bool):
        super().__init__(message)
        self.missing = missing


class Gate:
    """Signs and verifies tokens with `secret`. `is_open`: callers without one are authorized."""

    def __init__(self, secret: bytes, *, is_open: bool):
        self._secret = secret
        self.is_open = is_open

    def sign(
        self, job: str, scope: Iterable[str], *, sub: str = "", lasts_s: float = TOKEN_S, max_stream_s: float = STREAM_S
    ) -> str:
        claims = msgspec.json.encode(Claims(job, list(scope), time.time() + lasts_s, sub, max_stream_s))
        text = f"{VERSION}.{as_text(claims)}"
        return f"{text}.{as_text(self._mac(text))}"

    def read(self, token: str) -> Claims:
        """Return the claims of a token that was signed here and has not expired. Raises `Denied`."""
        claims = self._signed(token)
        if claims is None or claims.exp < time.time():
            raise Denied(UNSIGNED if claims is None else EXPIRED, missing=True)
        return claims

    def holds(self, tokens: Iterable[str]) -> bool:
        """Return True if one of `tokens` was signed here and has not expired, whatever it allows."""
        now = time.time()
        return any((claims := self._signed(token)) is not None and claims.exp >= now for token in tokens)

    def subject(self, tokens: Iterable[str]) -> str:
        """Return the subject to whom the first of `tokens` that was signed here was issued; empty without one."""
        return next((claims.sub for token in tokens if (claims := self._signed(token)) is not None), "")

    def authorize(self, tokens: Iterable[str], job: str, scope: str) -> float | None:
        """Authorize `scope` on `job` if one of `tokens` allows it, or if there is none and the gateway is open. Returns the
        seconds that a connection may last, None for no end. Raises `Denied` for the token that came closest; if all are
        valid for something else, it says that a fresh one would not help."""
        offered = [self._signed(token) for token in tokens]
        if not offered:
            if self.is_open:
                return None
            raise Denied(f"a token with the scope `{scope}` is needed here", missing=True)
        signed = [claims for claims in offered if claims is not None]
        allowing = [claims for claims in signed if claims.job in (job, EVERY_JOB) and scope in claims.scope]
        now = time.time()
        lasting = [claims.max_stream for claims in allowing if claims.exp >= now]
        if lasting:
            return max(lasting)
        if any(claims.exp < now for claims in allowing or signed):
            raise Denied(EXPIRED, missing=True)
        if len(signed) < len(offered):
            raise Denied(UNSIGNED, missing=True)
        raise Denied(f"the token does not allow `{scope}` here", missing=False)

    def _signed(self, token: str) -> Claims | None:
        """Return the claims of a token that was signed here, expired or not."""
        text, _, mac = token.rpartition(".")
        try:
            if len(token) > MAX_TOKEN_CHARS or not hmac.compare_digest(as_text(self._mac(text)), mac):
                return None
            return msgspec.json.decode(as_bytes(text.removeprefix(f"{VERSION}.")), type=Claims)
        except (ValueError, TypeError, msgspec.DecodeError):
            return None

    def _mac(self, text: str) -> bytes:
        return hmac.digest(self._secret, text.encode(), "sha256")


def tokens_of(headers: Any, query: Any, subprotocols: Iterable[str] = ()) -> list[str]:
    """Return every token that came along: `Authorization: Bearer`, `Sec-WebSocket-Protocol: …, bearer.<token>`, `?st=`,
    the cookie (a browser sends one for each path that it was set for)."""
    given = (line.strip().partition(" ") for line in headers.getall("authorization", []))
    tokens = [token.strip() for scheme, _, token in given if scheme.lower() == "bearer"]
    tokens = [token for token in tokens if token.startswith(f"{VERSION}.")]
    tokens += [name.removeprefix("bearer.") for name in subprotocols if name.startswith("bearer.")]
    lines = headers.getall("cookie", [])  # HTTP/2 splits them, and a proxy may leave it so
    cookies = (part.strip().partition("=") for line in lines for part in line.split(";"))
    tokens += query.getall("st", [])
    return [token for token in (*tokens, *(value.strip('"') for name, _, value in cookies if name == COOKIE)) if token]


def as_text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def as_bytes(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
