"""How connections are made and given up: within one limit for all that connecting takes, and at once."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp


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
        super()._release(key, protocol, should_close=should_close)
        if transport is not None:
            end(transport)

    async def close(self, *, abort_ssl: bool = False) -> None:
        for protocol in list(self._acquired):
            transport = getattr(protocol, "transport", None)  # a connection that is being made has none
            if transport is not None:
                transport.abort()
        await super().close(abort_ssl=abort_ssl)


def end(transport: asyncio.Transport) -> None:
    """Close a connection at once that has been given up, or holds bytes that the other side does not take.

    A closed transport waits until the other side has read what is in its buffer, and over TLS for its farewell: for ever, or
    half a minute long.
    """
    is_given_up = transport.is_closing() and transport.get_extra_info("sslcontext") is not None
    if is_given_up or transport.get_write_buffer_size():
        transport.abort()
