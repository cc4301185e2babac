"""The address at which a worker's metrics are read: `GET /metrics`, on the worker's own loop, at a port of its own.

Off unless `HEADRACE_METRICS` names an address. On loopback it answers this machine; elsewhere it demands the token.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import TYPE_CHECKING, NamedTuple

from headrace.errors import SettingsError
from headrace.instruments.exposition import check_installed, exposition
from headrace.instruments.ledger_gauges import LedgerGauges
from headrace.instruments.meter import Meter
from headrace.instruments.scrape_access import has_token, names_loopback
from headrace.logs import get_logger
from headrace.settings import Settings
from headrace.text.quoting import quoted

if TYPE_CHECKING:
    from aiohttp import web

log = get_logger("headrace.worker.observability.metrics_server")

MAX_PORTS = 32
"""Ports that are tried, one after the other: as many workers may have the same setting on one machine."""


class MetricsAddress(NamedTuple):
    host: str
    port: int


def metrics_address(settings: Settings) -> MetricsAddress | None:
    """Return where this worker's metrics are to be read; None for nowhere. Raises `SettingsError`."""
    if settings.metrics is None:
        return None
    host, _, port = settings.metrics.rpartition(":")
    host = host.strip("[]") or "127.0.0.1"
    if int(port) > 65_535:
        raise SettingsError(f"HEADRACE_METRICS={quoted(settings.metrics)}: a port is 65535 at most")
    if not is_loopback(host) and not settings.metrics_token:
        raise SettingsError(
            f"HEADRACE_METRICS={quoted(settings.metrics)} is reached from other machines, and HEADRACE_METRICS_TOKEN is not set. "
            "Set it (16 characters or more; Prometheus sends it as `credentials`), or listen on 127.0.0.1."
        )
    check_installed("HEADRACE_METRICS")
    return MetricsAddress(host, int(port))


def is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class MetricsServer:
    """Serves the numbers of `meter` and those of the ledger."""

    def __init__(self, address: MetricsAddress, token: str | None, meter: Meter, gauges: LedgerGauges):
        self._address = address
        self._token = token
        self._meter = meter
        self._gauges = gauges
        self._runner: web.AppRunner | None = None
        self.place = ""
        """`host:port` where it is read, once it is started."""

    async def start(self) -> None:
        """Listen at the first port that is free, from the address's on. Raises `SettingsError` when none is."""
        from aiohttp import web

        app = web.Application(client_max_size=1024)
        app.router.add_get("/metrics", self._answer)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1)
        await self._runner.setup()
        listener = listening(self._address)
        site = web.SockSite(self._runner, listener)
        await site.start()
        host, port = self._address.host, listener.getsockname()[1]
        shown = host if is_loopback(host) else socket.gethostname()
        self.place = f"[{shown}]:{port}" if ":" in shown else f"{shown}:{port}"
        log.info("metrics are served", at=self.place)

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        from aiohttp import web

        headers = request.headers
        if not has_token(headers.get("Authorization", ""), self._token):
            if self._token is not None:
                return web.Response(status=401, text="send HEADRACE_METRICS_TOKEN: `Authorization: Bearer …`\n")
            if not names_loopback(headers.get("Host", "")) or "Origin" in headers:
                return web.Response(status=403, text="it answers to localhost, and to no page\n")
        body, content_type = exposition(self._meter, await self._gauges.samples(), headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type, "Cache-Control": "no-store"})


def listening(address: MetricsAddress) -> socket.socket:
    """Return a socket at the first free port of the address. Raises `SettingsError`."""
    host, first = address
    last = first if first == 0 else min(first + MAX_PORTS - 1, 65_535)
    reason = "is taken"
    for port in range(first, last + 1):
        try:
            family, kind, protocol, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            listener = socket.socket(family, kind, protocol)
        except OSError as error:
            reason = error.strerror or "cannot be had"
            break
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(place)
            listener.listen(16)  # two that may share a port before they listen may not after
            listener.setblocking(False)
            return listener
        except OSError as error:
            listener.close()
            reason = error.strerror or "cannot be had"
    raise SettingsError(f"HEADRACE_METRICS: no port of {first} to {last} on {host} can be taken: {reason}")
