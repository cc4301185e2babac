"""Errors where an answer was promised, in every dialect: the right code, the right words, what came before is kept."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fake_transport import FORMS, FakeTransport, ask, model_of, piece
from headrace_providers.wire.chunks import chunks_of
from headrace_providers.wire.provider_errors import call_error, error_inside
from headrace_providers.wire.reducer import Reducer
from headrace_providers.wire.sse import EventDecoder
from headrace_providers.wire.surrogates import Halves

from headrace.errors import CODES, CallError

QUOTA = {"message": "You exceeded your current quota", "type": "insufficient_quota", "code": "insufficient_quota"}
SAID: list[tuple[dict[str, Any], str, str]] = [
    ({"error": {"message": "slow down", "code": 429}}, "rate_limited", "slow down"),
    ({"error": {"message": "slow down", "code": "429"}}, "rate_limited", "slow down"),
    ({"error": {"message": "slow down", "status": 429}}, "rate_limited", "slow down"),
    ({"error": {"message": "slow down", "type": "rate_limit_error"}}, "rate_limited", "slow down"),
    ({"error": {"code": 429, "message": "m", "status": "RESOURCE_EXHAUSTED"}}, "rate_limited", "m"),
    ({"error": QUOTA}, "payment", "current quota"),
    ({"error": QUOTA | {"code": None}}, "payment", "current quota"),
    ({"error": {"message": "m", "code": 500, "type": "insufficient_quota"}}, "payment", "m"),
    ({"error": {"message": "bad key", "code": "invalid_api_key"}}, "auth", "bad key"),
    ({"error": {"message": "bad key", "type": "authentication_error"}}, "auth", "bad key"),
    ({"error": {"message": "m", "status": "UNAUTHENTICATED"}}, "auth", "m"),
    ({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, "provider_unavailable", "Overloaded"),
    ({"object": "error", "message": "too long", "type": "BadRequestError", "code": 400}, "invalid_request", "too long"),
    ({"object": "error", "message": "m", "code": "40303"}, "provider_error", "m"),
    ({"detail": "Not authenticated"}, "provider_error", "Not authenticated"),
    ({"detail": [{"loc": ["body", "n"], "msg": "too many", "type": "v"}]}, "provider_error", "body.n: too many"),
    ({"detail": {"error": "no GPU"}}, "provider_error", "no GPU"),
    ({"message": "no route", "code": 404}, "not_found", "no route"),
    ({"message": "no route", "statusCode": 401}, "auth", "no route"),
    ({"error": "a plain text"}, "provider_error", "a plain text"),
    ({"errors": [{"message": "first", "code": 7003}]}, "provider_error", "first"),
    ({"success": False, "errors": [{"message": "first", "code": 429}]}, "rate_limited", "first"),
    ({"error_code": 429, "error_msg": "qps"}, "rate_limited", "qps"),
    ({"code": "Arrearage", "message": "overdue"}, "payment", "overdue"),
    ({"id": "x", "choices": None, "base_resp": {"status_code": 1008, "status_msg": "no balance"}}, "payment", "no balance"),
    ({"id": "x", "choices": None, "base_resp": {"status_code": 1002, "status_msg": "rpm"}}, "rate_limited", "rpm"),
]  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("body", "code", "words"), SAID, ids=lambda value: str(value)[:60])
def test_in_every_dialect(form: str, body: dict[str, Any], code: str, words: str) -> None:
    with pytest.raises(CallError) as raised:
        ask(model_of("openai", FakeTransport([body]), retry=False), form)
    assert raised.value.code == code
    assert words in str(raised.value)
    assert raised.value.retryable is CODES[code].retryable


@pytest.mark.parametrize(("body", "code", "words"), SAID, ids=lambda value: str(value)[:60])
def test_within_a_stream_what_came_is_kept(body: dict[str, Any], code: str, words: str) -> None:
    transport = FakeTransport([piece(content="half"), body])
    with pytest.raises(CallError) as raised:
        ask(model_of("openai", transport, retry=False), "stream")
    assert (raised.value.code, raised.value.partial) == (code, "half")
    assert words in str(raised.value)


@pytest.mark.parametrize(
    ("data", "code", "words"),
    [
        ('{"message": "gone", "code": 503}', "provider_error", "gone"),
        ('{"error": {"message": "gone", "code": 429}}', "rate_limited", "gone"),
        ("gone for good", "provider_error", "gone for good"),
        ('{"type": "error", "error": {"type": "rate_limit_error", "message": "gone"}}', "rate_limited", "gone"),
    ],
)
def test_an_event_of_the_name_error(data: str, code: str, words: str) -> None:
    decoder, halves = EventDecoder(), Halves()
    events = decoder.feed(f"event: error\ndata: {data}\n\n".encode())
    (chunk,) = [chunk for event in events for chunk in chunks_of(event, halves)]
    assert chunk is not None
    with pytest.raises(CallError, match=words) as raised:
        ask(model_of("openai", FakeTransport([piece(content="half"), chunk]), retry=False), "stream")
    assert (raised.value.code, raised.value.partial) == (code, "half")


def test_an_error_written_raw_into_a_stream() -> None:
    decoder = EventDecoder()
    line = json.dumps({"error": {"message": "gone", "code": 429}})
    events = decoder.feed(f"data: {json.dumps(piece(content='half'))}\n\n{line}\n".encode())
    assert [event.data for event in events][-1] == line.encode()


RAW = '{"error":{"message":"upstream says no","type":"insufficient_quota","code":"insufficient_quota"}}'


@pytest.mark.parametrize(
    ("raw", "code", "words"),
    [
        (RAW, "payment", "upstream says no"),
        (json.loads(RAW), "payment", "upstream says no"),
        (f"[{RAW}]", "payment", "upstream says no"),
        ("upstream timed out", "rate_limited", "upstream timed out"),
        ('{"detail":"overloaded"}', "rate_limited", "overloaded"),
    ],
)
def test_the_words_of_the_provider_behind_the_provider(raw: Any, code: str, words: str) -> None:
    error = {"message": "Provider returned error", "code": 429, "metadata": {"raw": raw, "provider_name": "X"}}
    for made in (error_inside(error), call_error(429, {"error": error})):
        assert (made.code, made.retryable) == (code, CODES[code].retryable)
        assert words in str(made)
        assert "Provider returned error" in str(made)


@pytest.mark.parametrize("status", [200, 400, 401, 403, 429, 500, 503])
@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("insufficient_quota", "payment"),
        ("billing_hard_limit_reached", "payment"),
        ("billing_not_active", "payment"),
        ("insufficient_balance", "payment"),
        ("invalid_api_key", "auth"),
        ("authentication_error", "auth"),
        ("account_deactivated", "auth"),
    ],
)
def test_money_and_keys_by_their_names_not_by_the_status(name: str, code: str, status: int) -> None:
    for body in (
        {"message": "m", "code": name},
        {"message": "m", "type": name},
        {"error": {"message": "m", "code": name}},
    ):
        made = call_error(status, body) if status != 200 else error_inside(body)
        assert (made.code, made.retryable) == (code, False)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("none", [None, "", {}, []])
def test_an_empty_error_is_none(form: str, none: Any) -> None:
    chunk = piece("stop", content="hi") | {"error": none}
    if form != "stream":
        chunk["choices"][0]["message"] = chunk["choices"][0].pop("delta")
    assert ask(model_of("openai", FakeTransport([chunk])), form).data == "hi"


@pytest.mark.parametrize(
    "body",
    [
        json.dumps({"error": QUOTA}),
        f"data: {json.dumps({'error': QUOTA})}\n\n",
        f"event: error\ndata: {json.dumps(QUOTA)}\n\ndata: [DONE]\n\n",
        {"error": json.dumps(QUOTA)},
        [{"error": QUOTA}],
    ],
)
def test_an_error_object_within_a_text(body: Any) -> None:
    made = call_error(429, body)
    assert (made.code, made.retryable) == ("payment", False)
    assert QUOTA["message"] in str(made)
    assert "{" not in str(made)


DEAD: list[tuple[Any, str]] = [
    ([{"error": {"code": 400, "status": "INVALID_ARGUMENT", "details": [{"reason": "API_KEY_INVALID"}]}}], "auth"),
    ({"error": "quota", "code": "insufficient_quota"}, "payment"),
    ({"error": "no such key", "code": "invalid_api_key"}, "auth"),
    ({"code": "Client specified an invalid argument", "error": "Incorrect API key provided: xx"}, "auth"),
    (
        {"type": "error", "error": {"type": "invalid_request_error", "message": "Your credit balance is too low."}},
        "payment",
    ),
    ({"error": {"message": "no"}, "code": "model_not_found"}, "not_found"),
    ({"code": "InvalidApiKey", "message": "Invalid API-key provided."}, "auth"),
    ({"error": "dead", "error_type": "authentication_error"}, "auth"),
]


@pytest.mark.parametrize(("body", "code"), DEAD)
def test_a_dead_key_or_an_empty_account_is_told_by_its_code_wherever_it_stands(body: Any, code: str) -> None:
    at_400 = call_error(400, body)
    assert (at_400.code, at_400.retryable) == (code, False)
    chunk = body[0] if isinstance(body, list) else body
    with pytest.raises(CallError) as inside:
        Reducer().add(chunk)
    assert (inside.value.code, inside.value.retryable) == (code, False)
    assert "True" not in at_400.message


def test_an_error_that_is_only_true_has_its_message() -> None:
    assert "quota exceeded" in call_error(400, {"error": True, "message": "quota exceeded"}).message
