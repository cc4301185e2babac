"""Turns among those who wait: by party and weight, within a party by rank; a newcomer waits for nobody's past."""

from __future__ import annotations

from collections import Counter

from headrace_worker.limits.fair_queue import FairQueue


def drawn(queue: FairQueue[str], count: int) -> list[str]:
    return [each.item for _ in range(count) if (each := queue.pop()) is not None]


def test_parties_take_turns_and_within_one_the_lowest_rank_goes_first() -> None:
    queue: FairQueue[str] = FairQueue()
    for rank, item in ((3, "a3"), (1, "a1"), (2, "a2")):
        queue.add(item, party="a", rank=rank)
    queue.add("b", party="b", rank=9)
    assert drawn(queue, 9) == ["a1", "b", "a2", "a3"]
    assert not queue


def test_turns_go_by_weight() -> None:
    queue: FairQueue[str] = FairQueue()
    for _ in range(1000):
        for party, weight in (("a", 1), ("b", 2), ("c", 7)):
            queue.add(party, party=party, weight=weight)
    assert Counter(drawn(queue, 1000)) == {"a": 100, "b": 200, "c": 700}


def test_a_newcomer_is_next_and_has_saved_nothing_up() -> None:
    queue: FairQueue[str] = FairQueue()
    for number in range(400):
        queue.add(f"a{number}", party="a")
    drawn(queue, 100)
    for number in range(3):
        queue.add(f"b{number}", party="b")
    taken = drawn(queue, 6)
    assert [item[0] for item in taken].count("b") == 3
    assert taken[:2] != ["b0", "b1"]


def test_what_could_not_be_served_is_at_its_place_again() -> None:
    queue: FairQueue[str] = FairQueue()
    for item in ("a0", "a1", "a2", "b0", "b1"):
        queue.add(item, party=item[0])
    first = [queue.pop() for _ in range(4)]
    order = [each.item for each in first if each is not None]
    for each in reversed(first[1:]):
        assert each is not None
        queue.restore(each)
    assert drawn(queue, 9) == [*order[1:], "b1" if "b1" not in order else "a2"]


def test_many_parties_are_forgotten() -> None:
    queue: FairQueue[str] = FairQueue()
    for number in range(5000):
        queue.add("x", party=str(number))
        queue.pop()
    assert len(queue._paid) < 2100
