"""`GET /metrics` for Prometheus, and the addresses of the workers' own for its HTTP service discovery."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get

from headrace.errors import SettingsError
from headrace.instruments.exposition import check_installed, exposition
from headrace.instruments.scrape_access import has_token
from headrace.ledger.announce import announcements
from headrace_api.auth import EVERY_JOB, READ
from headrace_api.errors import ApiError
from headrace_api.state import Gateway


@get("/metrics")
async def metrics(request: Request[Any, Any, Any], gateway: Gateway) -> Response[bytes]:
    """Return the numbers of this gateway, and those of the ledger."""
    allow(gateway, request)
    try:
        check_installed("GET /metrics")
    except SettingsError as error:
        raise ApiError(501, "not_installed", str(error)) from None
    samples = await gateway.ledger_gauges.samples()
    body, content_type = exposition(gateway.meter, samples, request.headers.get("accept", ""))
    return Response(body, headers={"content-type": content_type})


@get("/metrics/workers")
async def workers(request: Request[Any, Any, Any], gateway: Gateway) -> Response[list[dict[str, Any]]]:
    """Return where the workers' metrics are read, in the form of Prometheus's HTTP service discovery."""
    allow(gateway, request)
    async with gateway.client.talking():
        found = await announcements(gateway.client.ledger)
    return Response(
        [{"targets": [each.metrics], "labels": {"role": each.role}} for each in found if each.metrics],
    )


def allow(gateway: Gateway, request: Request[Any, Any, Any]) -> None:
    """Authorize whoever has the token of metrics, or may read all jobs. Raises `Denied`."""
    gateway.check_caller(request)
    if not has_token(request.headers.get("authorization", ""), gateway.settings.metrics_token):
        gateway.allow(request, EVERY_JOB, READ)
