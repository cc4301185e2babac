"""The OpenAPI document of the gateway, made of its routes, the words of their handlers and their structs."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from litestar.routes import HTTPRoute

from headrace_api.shapes.errors import ErrorAnswer
from headrace_api.shapes.operation import Operation, operation_of

REF = "#/components/schemas/{name}"
EVENT_STREAM = "text/event-stream"
PARAMETER = re.compile(r"{(\w+):\w+}")
TAGS = {
    "chat": "Chat completions",
    "responses": "Responses",
    "files": "Files",
    "batches": "Batches",
    "models": "Models",
    "jobs": "Jobs",
    "streams": "Durable Streams",
    "ui": "AI SDK",
    "ag-ui": "AG-UI",
    "forecast": "Spend",
    "spend": "Spend",
    "native": "For the SDK and the command line",
}


class DescribedRoute(msgspec.Struct, frozen=True, kw_only=True):
    """A route under one method, with the words of its handler and the fields of its query."""

    path: str
    method: str
    words: str
    operation: Operation
    query: tuple[msgspec.structs.FieldInfo, ...]


def described_routes(routes: Iterable[Any]) -> Iterator[DescribedRoute]:
    for route in routes:
        if not isinstance(route, HTTPRoute) or not route.path.startswith("/v1/"):
            continue
        for handler in route.route_handlers:
            operation = operation_of(handler)
            for method in sorted(handler.http_methods) if operation else ():
                assert operation
                yield DescribedRoute(
                    path=PARAMETER.sub(r"{\1}", route.path),
                    method=method.lower(),
                    words=" ".join((inspect.getdoc(handler.fn) or "").split()),
                    operation=operation,
                    query=() if operation.query is None else msgspec.structs.fields(operation.query),
                )


def document(routes: Iterable[Any]) -> dict[str, Any]:
    """Return the document of the routes below `/v1/` whose handlers declare an operation."""
    described = sorted(described_routes(routes), key=lambda each: (each.path, each.method))
    shapes: list[Any] = [ErrorAnswer]
    for each in described:
        operation = each.operation
        shapes += [shape for shape in (operation.body, operation.answer, operation.events) if shape is not None]
        shapes += [field.type for field in each.query]
    schemas, components = msgspec.json.schema_components(shapes, ref_template=REF)
    schema_of = {id(shape): schema for shape, schema in zip(shapes, schemas, strict=True)}
    paths: dict[str, dict[str, Any]] = {}
    for each in described:
        paths.setdefault(each.path, {})[each.method] = of_route(each, schema_of)
    return {
        "openapi": "3.1.0",
        "info": {"title": "headrace", "version": "1", "description": "Durable LLM completions over the OpenAI API."},
        "security": [{"bearer": []}, {}],
        "tags": [{"name": name} for name in dict.fromkeys(TAGS.values())],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def of_route(route: DescribedRoute, schema_of: dict[int, Any]) -> dict[str, Any]:
    operation, path = route.operation, route.path
    name = re.sub(r"[^a-z_]+", "_", path.removeprefix("/v1/").lower()).strip("_")
    shown: dict[str, Any] = {
        "operationId": f"{route.method}_{name}",
        "summary": re.split(r"(?<=[.;:]) ", route.words, maxsplit=1)[0].rstrip(".;:"),
        "description": route.words,
        "tags": [TAGS[path.split("/")[2]]],
        "parameters": [
            *(
                {"name": each, "in": "path", "required": True, "schema": {"type": "string"}}
                for each in re.findall(r"{(\w+)}", path)
            ),
            *(parameter(field, schema_of) for field in route.query),
        ],
        "responses": responses(operation, schema_of),
    }
    if operation.body is not None:
        content = {operation.body_media: {"schema": schema_of[id(operation.body)]}}
        shown["requestBody"] = {"required": operation.body_required, "content": content}
    return shown


def parameter(field: msgspec.structs.FieldInfo, schema_of: dict[int, Any]) -> dict[str, Any]:
    schema = dict(schema_of[id(field.type)])
    words = schema.pop("description", None)
    if isinstance(field.default, str | int):
        schema["default"] = field.default
    shown = {"name": field.encode_name, "in": "query", "required": field.required, "schema": schema}
    return shown if words is None else shown | {"description": words}


def responses(operation: Operation, schema_of: dict[int, Any]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    if operation.answer is not None:
        content[operation.media] = {"schema": schema_of[id(operation.answer)]}
    if operation.events is not None:
        content[EVENT_STREAM] = {"schema": schema_of[id(operation.events)]}
    answers: dict[str, Any] = {str(operation.status): {"description": "The answer."}}
    if content:
        answers[str(operation.status)]["content"] = content
    if operation.empty is not None:
        answers[str(operation.empty)] = {"description": "Nothing follows."}
    failed = {"description": "A failure.", "content": {"application/json": {"schema": schema_of[id(ErrorAnswer)]}}}
    return answers | {"default": failed}
