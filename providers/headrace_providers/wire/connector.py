"""The making and giving up of connections: within one limit for all that connecting takes, and at once."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp

MAX_LINE = 1 << 15
"""Bytes of a line in an answer's head: proxies write policies and cookies of more than aiohttp's own 8 KB."""


class Connector(aiohttp.TCPConnector):
    """A pool of connections. Name resolution, TCP, a proxy's tunnel and TLS have `connect_s` seconds together."""

    def __init__(self, *, connect_s: float, **options: Any):
        super().__init__(**options)
        self._connect_s = connect_s

    async def _create_connection(self, req: Any, traces: Any, timeout: Any) -> Any:
        # aiohttp's own limit counts for each address anew, and neither for a lookup nor for the answer to CONNECT.
        async with asyncio.timeout(self._connect_s):
            return await super()._create_connection(req, traces, timeout)

    def _release(self, key: Any, protocol: Any, *, should_close: bool = False) -> None:
        transport = protocol.transport
        if transport is not None:
            is_given_up = should_close or protocol.should_close or transport.is_closing()
            # A closed transport waits until the other side has read what is in its buffer, and over TLS for its farewell: for
            # ever, or half a minute long.
            if (is_given_up and key.is_ssl) or transport.get_write_buffer_size():
                transport.abort()
        super()._release(key, protocol, should_close=should_close)

    async def close(self, *, abort_ssl: bool = False) -> None:
        for protocol in list(self._acquired):
            transport = getattr(protocol, "transport", None)  # a connection that is being made has none
            if transport is not None:
                transport.abort()
        await super().close(abort_ssl=abort_ssl)
