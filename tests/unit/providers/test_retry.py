"""The retries of a provider class that is called directly (statements 137 to 140)."""

from __future__ import annotations

import pytest
from fake_transport import CLASSES, FakeTransport, answer, ask, model_of
from headrace_providers.retry import Retry

from headrace.errors import CallError

FORMS = ("sync", "async")

pytestmark = pytest.mark.parametrize("form", FORMS)

QUICK = Retry(first_s=0, longest_s=0)

DOWN = CallError("provider_unavailable", "500", status=500)


@pytest.mark.parametrize("provider", CLASSES)
def test_c137_the_default_asks_again(form: str, provider: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Retry, "backoff_s", lambda self, attempt: 0)
    transport = FakeTransport(DOWN, DOWN, answer("ok"))
    assert ask(model_of(provider, transport), form).data == "ok"
    assert len(transport.requests) == 3


def test_d090_five_attempts_in_all(form: str) -> None:
    transport = FakeTransport(DOWN)
    with pytest.raises(CallError):
        ask(model_of("openai", transport, retry=QUICK), form)
    assert len(transport.requests) == 5


def test_c138_no_retry(form: str) -> None:
    transport = FakeTransport(DOWN)
    with pytest.raises(CallError):
        ask(model_of("openai", transport, retry=False), form)
    assert len(transport.requests) == 1


@pytest.mark.parametrize("code", ["invalid_request", "auth", "payment", "not_found"])
def test_c139_does_not_retry_permanent_errors(form: str, code: str) -> None:
    transport = FakeTransport(CallError(code, code))
    with pytest.raises(CallError):
        ask(model_of("openai", transport, retry=Retry(attempts=3, first_s=0)), form)
    assert len(transport.requests) == 1


def test_c139_a_policy_of_ones_own(form: str) -> None:
    transport = FakeTransport(DOWN)
    with pytest.raises(CallError):
        ask(model_of("openai", transport, retry=Retry(attempts=3, first_s=0)), form)
    assert len(transport.requests) == 3


def test_c140_retry_after_is_waited_out(form: str) -> None:
    transport = FakeTransport(CallError("rate_limited", "429", status=429, retry_after_s=1.0), answer("ok"))
    assert ask(model_of("openai", transport, retry=QUICK), form).data == "ok"
    assert transport.times[1] - transport.times[0] >= 1.0


def test_a_retry_after_of_an_hour_is_not_waited_out(form: str) -> None:
    transport = FakeTransport(CallError("rate_limited", "429", status=429, retry_after_s=3600.0), answer("ok"))
    with pytest.raises(CallError) as raised:
        ask(model_of("openai", transport), form)
    assert raised.value.retry_after_s == 3600


def test_the_provider_knows_better_whether_to_ask_again(form: str) -> None:
    transport = FakeTransport(CallError("provider_unavailable", "500", status=500, retryable=False), answer("ok"))
    with pytest.raises(CallError):
        ask(model_of("openai", transport, retry=QUICK), form)
    assert len(transport.requests) == 1
