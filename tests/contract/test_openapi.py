"""`/v1/openapi.json`: a valid document, of every route, that says what is really answered."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import jsonschema
import pytest
from batches_api import create, line
from gateways import Sse
from headrace_api.app import make_app
from headrace_api.shapes.operation import operation_of
from litestar.routes import HTTPRoute
from openai import OpenAI
from openapi_spec_validator import OpenAPIV31SpecValidator
from stack import until

QUESTION = {"model": "rehearsal/small", "messages": [{"role": "user", "content": "Why is the sky blue?"}]}
OPEN = {"ChatMessage", "ChatChoice", "ChatCompletionObject", "ChatCompletionChunk", "ChatDelta", "ChunkChoice"}
"""Where what a provider says beyond OpenAI's types is passed on."""
OPEN |= {"ResponseEvent", "StreamPart"}


@pytest.fixture
def document(base: str) -> dict[str, Any]:
    answer = httpx.get(f"{base}/v1/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    return answer.json()


@pytest.fixture
def client(base: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=base, timeout=30) as client:
        yield client


def shape_of(document: dict[str, Any], method: str, path: str, media: str = "application/json") -> dict[str, Any]:
    """The schema of a route's answer, closed: a field that it does not name is not allowed."""
    responses = document["paths"][path][method]["responses"]
    (status,) = [each for each in responses if each not in ("204", "default")]
    closed = {
        name: schema
        if name in OPEN or "properties" not in schema
        else {"additionalProperties": False, "unevaluatedProperties": False} | schema
        for name, schema in document["components"]["schemas"].items()
    }
    return responses[status]["content"][media]["schema"] | {"components": {"schemas": closed}}


def check(document: dict[str, Any], method: str, path: str, answered: Any, media: str = "application/json") -> None:
    jsonschema.Draft202012Validator(shape_of(document, method, path, media)).validate(answered)


def test_it_is_valid(document: dict[str, Any]) -> None:
    assert [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()] == []


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_every_route_is_in_it(document: dict[str, Any]) -> None:
    for route in make_app(None, []).routes:  # type: ignore[arg-type] (none of its handlers is called)
        if isinstance(route, HTTPRoute) and route.path.startswith("/v1/") and route.path != "/v1/openapi.json":
            assert all(operation_of(each) for each in route.route_handlers if each.http_methods != {"OPTIONS"}), (
                route.path
            )
    assert len(document["paths"]) > 30
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            answer = next(iter(operation["responses"].values()))
            assert method == "head" or answer["content"], (method, path)
            assert operation["summary"], (method, path)


def test_fields_that_a_request_may_have_are_those_that_are_read(document: dict[str, Any]) -> None:
    from headrace_api.requests.chat_completions import OPTION_NAMES, TAKEN

    from headrace.chat.responses_request import FIELDS, UNAVAILABLE_FIELDS

    schemas = document["components"]["schemas"]
    chat = set(schemas["ChatCompletionRequest"]["properties"])
    assert chat == {*OPTION_NAMES, *TAKEN, "headrace", "max_completion_tokens"}
    assert set(schemas["ResponseRequest"]["properties"]) == set(FIELDS) - {*UNAVAILABLE_FIELDS}


def test_answers_of_chats_and_jobs_are_as_it_says(document: dict[str, Any], base: str, client: httpx.Client) -> None:
    check(document, "post", "/v1/chat/completions", client.post("/v1/chat/completions", json=QUESTION).json())
    streamed = client.post("/v1/chat/completions", json=QUESTION | {"stream": True}).text
    chunks = [json.loads(part.partition("data: ")[2]) for part in streamed.split("\n\n") if "data: {" in part]
    assert chunks
    for chunk in chunks:
        check(document, "post", "/v1/chat/completions", chunk, "text/event-stream")
    receipt = client.post("/v1/jobs", json=QUESTION).json()
    check(document, "post", "/v1/jobs", receipt)
    path = f"/v1/jobs/{receipt['id']}"
    until(lambda: client.get(path).json()["status"] == "succeeded", what="it is answered")
    check(document, "get", "/v1/jobs/{job}", client.get(path).json())
    check(document, "get", "/v1/jobs", client.get("/v1/jobs").json())
    check(document, "post", "/v1/jobs/{job}/tokens", client.post(f"{path}/tokens").json())
    for _, data in Sse(f"{base}{path}/events").all():
        check(document, "get", "/v1/jobs/{job}/events", json.loads(data), "text/event-stream")
    failing = QUESTION | {"messages": [{"role": "user", "content": "[[rehearsal fault=400]] No."}]}
    refused = client.post("/v1/jobs", json=failing).json()["id"]
    until(lambda: client.get(f"/v1/jobs/{refused}").json()["status"] == "failed", what="it has failed")
    check(document, "get", "/v1/jobs/{job}", client.get(f"/v1/jobs/{refused}").json())
    check(document, "post", "/v1/jobs/{job}/retry", client.post(f"/v1/jobs/{refused}/retry").json())


def test_so_are_those_of_responses(document: dict[str, Any], client: httpx.Client) -> None:
    asked = {"model": "rehearsal/small", "input": "Why?"}
    made = client.post("/v1/responses", json=asked).json()
    check(document, "post", "/v1/responses", made)
    check(document, "get", "/v1/responses/{response}", client.get(f"/v1/responses/{made['id']}").json())
    items = client.get(f"/v1/responses/{made['id']}/input_items").json()
    check(document, "get", "/v1/responses/{response}/input_items", items)
    for part in client.post("/v1/responses", json=asked | {"stream": True}).text.split("\n\n"):
        if data := part.partition("data: ")[2]:
            check(document, "post", "/v1/responses", json.loads(data), "text/event-stream")
    later = client.post("/v1/responses", json=asked | {"background": True}).json()
    check(document, "post", "/v1/responses", later)
    path = f"/v1/responses/{later['id']}"
    check(document, "post", "/v1/responses/{response}/cancel", client.post(f"{path}/cancel").json())
    check(document, "delete", "/v1/responses/{response}", client.delete(path).json())


def test_so_are_those_of_files_batches_and_models(document: dict[str, Any], base: str, client: httpx.Client) -> None:
    with OpenAI(base_url=f"{base}/v1", api_key="none") as official:
        batch = create(
            official, [line("r1"), line("r2", messages=[{"role": "user", "content": "[[rehearsal fault=400]] No."}])]
        )
    path = f"/v1/batches/{batch.id}"
    until(lambda: client.get(path).json()["status"] == "completed", what="it has run")
    ended = client.get(path).json()
    check(document, "get", "/v1/batches/{batch_id}", ended)
    check(document, "get", "/v1/batches", client.get("/v1/batches").json())
    for text in client.get(f"{path}/results").text.splitlines():
        if text:
            check(document, "get", "/v1/batches/{batch_id}/results", json.loads(text), "application/x-ndjson")
    check(document, "post", "/v1/batches/{batch_id}/retry", client.post(f"{path}/retry").json())
    file = f"/v1/files/{ended['input_file_id']}"
    check(document, "get", "/v1/files/{file_id}", client.get(file).json())
    check(document, "get", "/v1/files", client.get("/v1/files").json())
    check(document, "delete", "/v1/files/{file_id}", client.delete(file).json())
    check(document, "get", "/v1/models", client.get("/v1/models").json())
    check(document, "get", "/v1/native/batches", client.get("/v1/native/batches").json())
    check(document, "get", "/v1/native/batches/{batch_id}", client.get(f"/v1/native/batches/{batch.id}").json())


def test_a_failure_is_as_it_says(document: dict[str, Any], client: httpx.Client) -> None:
    schema = document["paths"]["/v1/files/{file_id}"]["get"]["responses"]["default"]["content"]["application/json"][
        "schema"
    ]
    answered = client.get("/v1/files/file-x").json()
    jsonschema.Draft202012Validator(schema | {"components": document["components"]}).validate(answered)
