"""`/v1/forecast`: what a list of requests will take and cost, before one of them is sent."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, post

from headrace.batches.forecast import Range
from headrace.batches.job_forecast import forecast_jobs
from headrace.errors import InputError
from headrace.jobs.job import Job
from headrace.spend.prices import Profile
from headrace_api.auth import EVERY_JOB, SUBMIT
from headrace_api.requests.chat_completions import read_chat_request, read_object, sized
from headrace_api.routes.jobs import as_json
from headrace_api.shapes.forecast import MAX_REQUESTS, ForecastObject, ForecastRequest, Interval
from headrace_api.shapes.operation import Operation
from headrace_api.state import Gateway


@post("/v1/forecast", status_code=200, operation=Operation(body=ForecastRequest, answer=ForecastObject))
async def forecast_requests(request: Request[Any, Any, Any], gateway: Gateway) -> Response[bytes]:
    """Return the tokens and the cost that are expected of chat-completions bodies, with an interval. Nothing is called."""
    gateway.allow(request, EVERY_JOB, SUBMIT)
    raw = await request.body()
    jobs = await sized(len(raw), read_jobs, raw)
    profiles = {model: await profile_of(gateway, model) for model in {job.model for job in jobs}}
    found = await sized(len(raw), forecast_jobs, jobs, profiles)
    return as_json(
        ForecastObject(
            requests=len(jobs),
            calls=found.calls,
            input_tokens=interval_of(found.input_tokens),
            output_tokens=interval_of(found.output_tokens),
            cost_usd=None if found.cost_usd is None else interval_of(found.cost_usd),
            too_long=found.too_long,
            unpriced=found.unpriced,
        )
    )


def read_jobs(raw: bytes) -> list[Job]:
    """Decode the requests. Raises `InputError` with the place of the first that is none."""
    body = read_object(raw)
    requests = body.get("requests")
    if set(body) - {"requests"} or not isinstance(requests, list) or not 1 <= len(requests) <= MAX_REQUESTS:
        raise InputError(f"/requests: must be a list of 1 to {MAX_REQUESTS} chat-completions bodies, and nothing else")
    jobs: list[Job] = []
    for number, each in enumerate(requests):
        if not isinstance(each, dict):
            raise InputError(f"/requests/{number}: must be an object")
        try:
            jobs.append(read_chat_request(each).job)
        except InputError as error:
            raise InputError(f"/requests/{number}: {error}") from None
    return jobs


async def profile_of(gateway: Gateway, model: str) -> Profile:
    """Return the prices of a model. Raises `ModelNotFound`."""
    async with gateway.client.talking():
        known = await gateway.client.models.retrieve(model)
    return Profile(
        context_length=known.context_length, input=known.input, output=known.output, cache_read=known.cache_read
    )


def interval_of(each: Range) -> Interval:
    return Interval(each.expected, each.low, each.high)
