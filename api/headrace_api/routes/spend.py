"""`/v1/spend`: what was spent and saved, in all and by day, and what is left of budgets."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get

from headrace.ledger.spend_record import SpendRecord
from headrace_api.auth import EVERY_JOB, READ
from headrace_api.requests.pages import limit_of
from headrace_api.routes.jobs import as_json
from headrace_api.shapes.operation import Operation
from headrace_api.shapes.spend import SpendQuery
from headrace_api.state import Gateway

MAX_DAYS = 400


@get("/v1/spend", operation=Operation(query=SpendQuery, answer=SpendRecord))
async def show_spend(request: Request[Any, Any, Any], gateway: Gateway) -> Response[bytes]:
    """Return what was spent, in US dollars: in all, today, and by day (`?days=30`)."""
    gateway.allow(request, EVERY_JOB, READ)
    days = limit_of(request.query_params, 30, MAX_DAYS, name="days")
    return as_json(await gateway.client.spend(days=days))
