"""The use of kept connections: can one carry another request?"""

from __future__ import annotations

import asyncio
import select
import time
from weakref import WeakKeyDictionary

from aiohttp.client_proto import ResponseHandler

MAX_CONNECTION_S = 300.0
"""Seconds that a connection is used: one that was made longer ago is closed after its next answer, so that an address that has
moved is followed."""
UNASKED = select.POLLIN | getattr(select, "POLLRDHUP", 0) | select.POLLHUP | select.POLLERR
"""Events of a connection that should be silent: bytes without a request, or its end."""

_ages: WeakKeyDictionary[ResponseHandler, Age] = WeakKeyDictionary()
"""By a connection's protocol."""


class Age:
    """The time of a connection's first request, and the poll that tells what the other side has done meanwhile."""

    def __init__(self, transport: asyncio.BaseTransport):
        self.began_s = time.monotonic()
        self._poll = select.poll()
        connection = transport.get_extra_info("socket")
        if connection is not None:
            self._poll.register(connection.fileno(), UNASKED)

    @property
    def is_stirring(self) -> bool:
        """Return whether the other side has closed or written, though the loop has not come to see it yet."""
        try:
            return bool(self._poll.poll(0))
        except OSError:
            return True


def was_used(protocol: ResponseHandler) -> bool:
    """Return whether a connection has carried a request."""
    return protocol in _ages


def is_open(protocol: ResponseHandler | None) -> bool:
    """Return whether a connection can carry a request, so far as can be seen: the other side has neither closed it nor, on one
    that was used before, written what nobody asked for, which would be taken as the answer."""
    transport = protocol.transport if protocol is not None else None
    if protocol is None or transport is None or transport.is_closing():
        return False
    age = _ages.get(protocol)
    return age is None or not (protocol.should_close or age.is_stirring)


def begin_use(protocol: ResponseHandler) -> None:
    """Note that a request is written now. A connection that is too old is closed after its answer."""
    age = _ages.get(protocol)
    if age is None:
        assert protocol.transport is not None
        _ages[protocol] = Age(protocol.transport)
    elif time.monotonic() - age.began_s > MAX_CONNECTION_S:
        protocol.force_close()
