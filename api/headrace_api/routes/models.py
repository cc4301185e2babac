"""`/v1/models`: aliases and known models in OpenAI's shape, with `context_length` and `pricing` as OpenRouter names them. No
provider is called."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from litestar import Request, Response, get

from headrace.spend.known_models import KnownModel
from headrace_api.auth import EVERY_JOB, SUBMIT
from headrace_api.routes.jobs import as_json
from headrace_api.shapes.models import ModelObject, ModelPage
from headrace_api.shapes.operation import Operation
from headrace_api.state import Gateway

MILLION = 1_000_000


@get("/v1/models", operation=Operation(answer=ModelPage))
async def list_models(request: Request[Any, Any, Any], gateway: Gateway) -> Response[bytes]:
    """List the aliases, then the known models. Any other model of a provider can be asked as well."""
    gateway.allow(request, EVERY_JOB, SUBMIT)
    async with gateway.client.talking():
        known = await gateway.client.models.known()
    return as_json({"object": "list", "data": [object_of(model) for model in known]})


@get("/v1/models/{model:path}", operation=Operation(answer=ModelObject))
async def retrieve(request: Request[Any, Any, Any], model: str, gateway: Gateway) -> Response[bytes]:
    """Return an alias, or `provider/model` for a provider that a worker can call; its slash may be written `%2F`."""
    gateway.allow(request, EVERY_JOB, SUBMIT)
    async with gateway.client.talking():
        return as_json(object_of(await gateway.client.models.retrieve(model.removeprefix("/"))))


def object_of(model: KnownModel) -> dict[str, Any]:
    """Return OpenAI's model object. When a model was created is not known: 0."""
    body: dict[str, Any] = {"id": model.id, "object": "model", "created": 0, "owned_by": model.provider}
    if model.context_length is not None:
        body["context_length"] = model.context_length
    prices = {"prompt": model.input, "completion": model.output, "input_cache_read": model.cache_read}
    pricing = {name: per_token(price) for name, price in prices.items() if price is not None}
    return body | ({"pricing": pricing} if pricing else {})


def per_token(per_million: float) -> str:
    """Return a price in USD per token, as a decimal text: `0.00000025`."""
    return f"{Decimal(repr(per_million)) / MILLION:f}"
