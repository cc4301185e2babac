"""Which request on a connection an answer belonged to, long after the request is gone."""

from __future__ import annotations

from typing import Any

from headrace_api.requests.answer_delivery import Exchange


def scope() -> dict[str, Any]:
    return {"type": "http", "client": ("127.0.0.1", 50000)}


def test_the_next_request_on_a_connection_is_another_exchange_in_whatever_memory() -> None:
    first = Exchange.of(scope())  # its scope is freed at once, and the next one is most likely given the same place
    assert not any(first.is_of(scope()) for _ in range(100))


def test_an_exchange_is_that_of_its_scope_however_often_it_is_asked_for() -> None:
    one = scope()
    assert Exchange.of(one) == Exchange.of(one)
    assert Exchange.of(one).is_of(one)
    assert Exchange.of(scope()) != Exchange.of(one)
