"""A request goes out, chunks come back. A plain call is a stream of one chunk; no implementation retries.

`Transport` has two implementations, `http_transport.py` and, over the official SDK, `sdk_transport.py`; what they raise is always
a `CallError`. This module imports neither.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol

import msgspec

from headrace.errors import InputError
from headrace.settings import number_in
from headrace_providers.wire.chunks import Chunk
from headrace_providers.wire.request import Request

MAX_ANSWER_BYTES = 32 << 20
FLEX_S = 900.0


class Deadlines(msgspec.Struct, frozen=True, kw_only=True):
    """In seconds. `first_token_s` and `idle_s` hold for streams (a plain call shows nothing before it is complete), and are
    measured by bytes: comments and empty chunks prove that the other side lives."""

    connect_s: float = 5.0
    first_token_s: float = 60.0
    idle_s: float = 60.0
    total_s: float = 600.0

    @classmethod
    def from_environment(cls) -> Deadlines:
        """Return the default deadlines, with `OPENAI_TIMEOUT` seconds in all where that is set (conformance 27)."""
        total_s = number_in(None, "OPENAI_TIMEOUT", 0.001)
        return cls() if total_s is None else cls(total_s=total_s)

    @property
    def patient(self) -> Deadlines:
        """Return those of calls in the service tier `flex`, which answers when there is room: 15 minutes at least."""
        return Deadlines(
            connect_s=self.connect_s,
            first_token_s=max(self.first_token_s, FLEX_S),
            idle_s=self.idle_s,
            total_s=max(self.total_s, FLEX_S),
        )


class Transport(Protocol):
    def chunks(self, request: Request) -> AsyncIterator[Chunk | None]:
        """Send `request`; yield what comes back, one chunk for a plain call, None where a stream says that it is at its end
        (`[DONE]`). Raises `CallError`.

        Leaving the iterator early closes the connection, which tells the provider to stop.
        """
        ...

    async def close(self) -> None: ...


FIXED_HEADERS = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
"""Headers of every request, whatever its own say."""


def sent(request: Request) -> dict[str, str]:
    return merged_headers(request.headers, FIXED_HEADERS)


def merged_headers(first: Mapping[str, str], then: Mapping[str, str]) -> dict[str, str]:
    """Return the headers of both; those of `then` win, however their names are written."""
    names = {name.lower() for name in then}
    return {name: value for name, value in first.items() if name.lower() not in names} | dict(then)


def encoded(body: Any) -> bytes:
    """Encode the body as JSON. Raises `InputError` for what JSON cannot hold, as half of a surrogate pair."""
    try:
        return msgspec.json.encode(body)
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"the request cannot be written as JSON: {error}") from None


def __getattr__(name: str) -> Any:
    """Return `SdkTransport`, which stood here until 0.1.0: it is imported when it is asked for."""
    if name != "SdkTransport":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from headrace_providers.wire.sdk_transport import SdkTransport

    return SdkTransport
