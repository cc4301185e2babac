"""`POST /v1/forecast`: what requests will take and cost, asked over HTTP before one is sent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from stack import Stack, started, until

PROFILE = {"rehearsal/small": {"input": 0.25, "output": 2, "context_length": 1000}}

SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["colour"],
    "properties": {"colour": {"type": "string"}},
}
FORM = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("forecast")
    (folder / "profiles.json").write_text(json.dumps(PROFILE))
    (folder / "profiles.json").chmod(0o600)
    environment = {"HEADRACE_PROFILES": str(folder / "profiles.json")}
    flag = "--rehearsal-flag=--tokenizer=o200k_base"
    with started(folder / "service", "--no-flower", flag, environment=environment) as stack:
        yield stack


@pytest.fixture
def http(base: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=base, timeout=30) as client:
        yield client


def body(text: str, model: str = "rehearsal/small", **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": text}], **more}


def forecast(http: httpx.Client, *requests: Any) -> dict[str, Any]:
    answer = http.post("/v1/forecast", json={"requests": requests})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_what_is_paid_lies_within_the_forecast(stack: Stack, http: httpx.Client) -> None:
    before = len(stack.calls())
    asked = [body(f"Item {n}: what colour is it?", response_format=FORM) for n in range(20)]
    told = forecast(http, *asked)
    assert (told["requests"], told["calls"]) == (20, 20)
    assert len(stack.calls()) == before, "nothing is called"
    jobs = [http.post("/v1/jobs", json=each).json()["id"] for each in asked]
    shown = until(
        lambda: (
            (all_shown := [http.get(f"/v1/jobs/{job}").json() for job in jobs])
            and all(each["status"] == "succeeded" for each in all_shown)
            and all_shown
        ),
        what="all have ended",
    )
    for side in ("input_tokens", "output_tokens"):
        paid = sum(each["completion"]["usage"][side] for each in shown)
        assert told[side]["low"] <= paid <= told[side]["high"], side
    cost = sum(each["completion"]["cost"] for each in shown)
    assert told["cost_usd"]["low"] <= cost <= told["cost_usd"]["high"]
    assert told["unpriced"] == []


def test_a_price_that_is_not_known_is_no_price_of_nothing(http: httpx.Client) -> None:
    told = forecast(http, body("Hello", "rehearsal/priceless"))
    assert told["cost_usd"] is None
    assert told["unpriced"] == ["rehearsal/priceless"]


def test_what_no_model_of_that_size_can_read_is_counted(http: httpx.Client) -> None:
    assert forecast(http, body("word " * 1500), body("word"))["too_long"] == 1


def test_several_choices_and_a_bound_on_answers_count(http: httpx.Client) -> None:
    one = forecast(http, body("Hello", max_tokens=5))
    three = forecast(http, body("Hello", max_tokens=5, n=3))
    assert one["output_tokens"]["high"] == 5
    assert three["calls"] == 3
    assert three["input_tokens"]["expected"] == pytest.approx(3 * one["input_tokens"]["expected"], abs=2)


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ({}, "/requests"),
        ({"requests": []}, "/requests"),
        ({"requests": {}}, "/requests"),
        ({"requests": [body("a")], "more": 1}, "/requests"),
        ({"requests": [body("a"), 3]}, "/requests/1"),
        ({"requests": [body("a"), {"model": "rehearsal/small"}]}, "/requests/1"),
        ({"requests": [body("a"), body("b", n=0)]}, "/requests/1"),
        ({"requests": [body("a")] * 1001}, "/requests"),
    ],
)
def test_what_is_no_list_of_requests_is_refused_by_its_place(http: httpx.Client, given: Any, place: str) -> None:
    answer = http.post("/v1/forecast", json=given)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith(f"{place}: ")


def test_a_model_of_nobody_is_not_found(http: httpx.Client) -> None:
    answer = http.post("/v1/forecast", json={"requests": [body("a", "nobody/x")]})
    assert answer.status_code == 404
