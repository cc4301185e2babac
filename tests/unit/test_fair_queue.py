"""Turns among those who wait: by party and weight, within a party by rank; a newcomer waits for nobody's past."""

from __future__ import annotations

from collections import Counter

from headrace_worker.limits.fair_queue import FairQueue
from hypothesis import given
from hypothesis import strategies as st


def drawn(queue: FairQueue[str], count: int) -> list[str]:
    return [each.item for _ in range(count) if (each := queue.pop()) is not None]


def test_parties_take_turns_and_within_one_the_lowest_rank_goes_first() -> None:
    queue: FairQueue[str] = FairQueue(lambda item: item != "gone")
    for rank, item in ((3, "a3"), (1, "a1"), (2, "a2")):
        queue.add(item, party="a", rank=rank)
    queue.add("b", party="b", rank=9)
    assert drawn(queue, 9) == ["a1", "b", "a2", "a3"]
    assert not queue


def test_turns_go_by_weight() -> None:
    queue: FairQueue[str] = FairQueue(lambda item: item != "gone")
    for _ in range(1000):
        for party, weight in (("a", 1), ("b", 2), ("c", 7)):
            queue.add(party, party=party, weight=weight)
    assert Counter(drawn(queue, 1000)) == {"a": 100, "b": 200, "c": 700}


def test_a_newcomer_is_next_and_has_saved_nothing_up() -> None:
    queue: FairQueue[str] = FairQueue(lambda item: item != "gone")
    for number in range(400):
        queue.add(f"a{number}", party="a")
    drawn(queue, 100)
    for number in range(3):
        queue.add(f"b{number}", party="b")
    taken = drawn(queue, 6)
    assert [item[0] for item in taken].count("b") == 3
    assert taken[:2] != ["b0", "b1"]


def test_the_next_of_one_party_takes_its_turn() -> None:
    queue: FairQueue[str] = FairQueue(lambda item: item != "gone")
    for item in ("a0", "a1", "b0", "b1"):
        queue.add(item, party=item[0])
    first = queue.pop_of("b")
    assert first is not None
    assert first.item == "b0"
    assert drawn(queue, 9) == ["a0", "a1", "b1"]
    assert queue.pop_of("b") is None


def test_who_has_left_costs_its_party_no_turn() -> None:
    queue: FairQueue[str] = FairQueue(lambda item: item != "gone")
    for number in range(50):
        queue.add("gone", party="a", rank=0)
        queue.add(f"a{number}", party="a", rank=1)
        queue.add(f"b{number}", party="b")
    assert Counter(item[0] for item in drawn(queue, 40)) == {"a": 20, "b": 20}


def test_many_parties_are_forgotten() -> None:
    queue: FairQueue[str] = FairQueue(lambda item: item != "gone")
    for number in range(5000):
        queue.add("x", party=str(number))
        queue.pop()
    assert len(queue._paid) < 2100


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 5), st.integers(0, 3), st.booleans()), max_size=40),
    st.integers(0, 10),
)
def test_the_order_is_told_as_turns_will_be_taken(comers: list[tuple[str, int, int, bool]], taken: int) -> None:
    queue: FairQueue[str] = FairQueue(lambda item: item != "gone")
    for number, (party, weight, rank, stays) in enumerate(comers):
        queue.add(f"{party}{number}" if stays else "gone", party=party, weight=weight, rank=rank)
    drawn(queue, taken)
    told = [each.item for each in queue.in_order()]
    assert drawn(queue, len(comers)) == told
