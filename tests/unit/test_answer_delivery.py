"""Which request on a connection an answer belonged to, long after the request is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest
from headrace_api.requests import answer_delivery
from headrace_api.requests.answer_delivery import AnswerDelivery, Exchange
from litestar import Request

from headrace.client.ledger_backend import LedgerBackend
from headrace.ledger.unread import UnreadAnswer, WaitingClient


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


class Ledgerless:
    """A client whose ledger nothing reaches."""

    ledger = SimpleNamespace(connection_pool=None)


async def test_a_retry_waits_for_the_word_that_its_answer_was_read(monkeypatch: pytest.MonkeyPatch) -> None:
    arrived, on_the_way = asyncio.Event(), asyncio.Event()

    async def mark_read(_: object, __: Sequence[UnreadAnswer]) -> None:
        on_the_way.set()
        await arrived.wait()

    monkeypatch.setattr(answer_delivery, "mark_read", mark_read)
    monkeypatch.setattr(answer_delivery, "SETTLED_S", 0.0)
    answers = AnswerDelivery(cast("LedgerBackend", Ledgerless()), lambda _: "read", keep_s=60)
    answers.sent(WaitingClient("gateway", False, "asked"), "token", "job_1", scope())
    await on_the_way.wait()
    request = Request[Any, Any, Any](
        {**scope(), "path": "/", "query_string": b"", "headers": [(b"x-stainless-retry-count", b"1")]}
    )
    retry = asyncio.create_task(answers.waiter(request, "caller", b"{}"))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not retry.done()
    arrived.set()
    assert (await retry) is not None
