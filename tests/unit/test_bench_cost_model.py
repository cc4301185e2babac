"""The cost model of docs/performance.md: arithmetic over the figures, which says what was not measured."""

from __future__ import annotations

from bench.report.cost_model import UNKNOWN, cost_model
from bench.report.figures import Results, Row, Subject, row

ITEM, CHAT = "CPU of an item, headrace's", "CPU of a plain chat, headrace's"


def results(*rows: Row) -> Results:
    return Results([Subject("bulk", "2026-01-02", "abc1234", "a machine", rows)])


def cells(text: str, first: str) -> list[list[str]]:
    """The cells after `first` of each line that begins with it."""
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    return [line[1:] for line in lines if line[0] == first]


def test_nothing_measured_is_said_in_every_place() -> None:
    text = cost_model(Results())
    assert cells(text, "a bulk item")[0] == ["none", UNKNOWN, UNKNOWN]
    assert cells(text, "items") == [[UNKNOWN] * 4]


def test_a_ledger_carries_what_fits_into_its_share_of_a_core() -> None:
    text = cost_model(results(row(f"{ITEM} worker", 0.2, "ms"), row(f"{ITEM} broker", 0.01, "ms")))
    # 0.7 s of 10 us; of workers 5,000 a second and core; 800 cores.
    assert cells(text, "items") == [["70,000 1/s", "14", "4,000,000 1/s", "58"]]


def test_a_chats_cores_are_those_of_gateway_and_worker() -> None:
    costs = {"gateway": 0.6, "worker": 0.4, "valkey": 0.1}
    text = cost_model(results(*(row(f"{CHAT} {part}", value, "ms") for part, value in costs.items())))
    assert cells(text, "a plain chat")[0] == ["600 µs", "400 µs", "100 µs"]
    assert cells(text, "chats") == [["7,000 1/s", "7", "800,000 1/s", "115"]]


def test_a_chunk_is_a_share_of_the_cores_that_streams_use() -> None:
    name = "cores used at 100 streams x 50/s"
    text = cost_model(results(row(f"{name}: worker", 0.5, "cores"), row(f"{name}: valkey", 0.1, "cores")))
    assert cells(text, "a streamed chunk")[0] == [UNKNOWN, "100 µs", "20 µs"]
    # Without the gateway's part there is no cost of the service.
    assert cells(text, "chunks") == [["35,000 1/s", UNKNOWN, UNKNOWN, UNKNOWN]]


def test_how_far_an_item_is_from_its_bound_counts_the_exchange_and_the_ledger() -> None:
    rows = [row(f"{ITEM} worker", 0.19, "ms"), row(f"{ITEM} broker", 0.01, "ms")]
    text = cost_model(results(*rows, row("CPU of a raw exchange on asyncio", 40, "us")))
    assert cells(text, "a bulk item")[-1][1:] == ["50 µs", "200 µs", "4.0 times"]
