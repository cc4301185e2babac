"""Orders: how they are read, which wins, and how long they last."""

from __future__ import annotations

import pytest
from headrace_rehearsal.fault_rates import parse_rates
from headrace_rehearsal.faults import BadOrder, Book, Orders, parse_orders


def test_a_marker_wins_over_the_header_and_both_over_the_defaults() -> None:
    book = Book(Orders(latency_ms=5, tps=7), {}, 0)
    orders = book.orders("latency=10; fault=429", ["fault=hang, retry_after=2"], "job")
    assert orders == Orders(latency_ms=10, tps=7, fault="hang", retry_after_s=2)
    assert book.orders(None, [], "job") == Orders(latency_ms=5, tps=7)


def test_times_are_counted_for_each_job_and_fault() -> None:
    book = Book(Orders(), {}, 0)
    assert [book.orders("fault=500 times=2", [], "a").fault for _ in range(4)] == ["500", "500", None, None]
    assert book.orders("fault=500 times=2", [], "b").fault == "500"
    assert book.orders("fault=429 times=2", [], "a").fault == "429"


def test_an_ordered_fault_keeps_random_ones_away() -> None:
    book = Book(Orders(), {"429": 1.0}, 0)
    assert book.orders(None, [], "a").fault == "429"
    assert book.orders("fault=none", [], "a").fault == "none"
    assert [book.orders("fault=500 times=1", [], "a").fault for _ in range(2)] == ["500", None]


@pytest.mark.parametrize("text", ["fault=700", "fault=nap", "latency=fast", "speed=1", "hang", "tps=-1", "latency=inf"])
def test_an_order_nobody_can_follow_is_refused(text: str) -> None:
    with pytest.raises(BadOrder, match=text.split("=")[-1]):
        parse_orders(text)


@pytest.mark.parametrize("text", ["429", "429=x", "429=0.7,500=0.7", "nap=0.1", "429=-1", "429=nan"])
def test_rates_are_checked(text: str) -> None:
    with pytest.raises(BadOrder):
        parse_rates(text)
