"""The state machine is data, so what is wrong with it can be seen without running anything."""

from __future__ import annotations

from pathlib import Path

import pytest

import headrace.ledger
from headrace.ledger.state import BATCH_MOVES, BATCH_TERMINAL, JOB_MOVES, TERMINAL, BatchState, JobState

MOVES = {path.stem for path in Path(headrace.ledger.__path__[0]).glob("*.lua")}
TABLES = [JOB_MOVES, BATCH_MOVES]


def test_every_state_of_a_job_either_moves_or_is_terminal() -> None:
    assert set(JOB_MOVES) | TERMINAL == set(JobState)
    assert not set(JOB_MOVES) & TERMINAL


def test_every_state_of_a_batch_either_moves_or_is_terminal() -> None:
    assert set(BATCH_MOVES) | BATCH_TERMINAL == set(BatchState)
    assert not set(BATCH_MOVES) & BATCH_TERMINAL


@pytest.mark.parametrize("table", TABLES, ids=["job", "batch"])
def test_every_move_in_the_table_is_a_move_and_leads_somewhere(table: dict) -> None:
    for by_move in table.values():
        assert set(by_move) <= MOVES
        assert all(by_move.values())


def test_every_state_of_a_job_can_be_reached() -> None:
    assert reached(JOB_MOVES, JobState.QUEUED) == set(JobState)


def test_every_state_of_a_batch_can_be_reached() -> None:
    assert reached(BATCH_MOVES, BatchState.VALIDATING) == set(BatchState)


def test_a_batch_that_was_checked_by_its_client_is_never_validating() -> None:
    assert reached(BATCH_MOVES, BatchState.IN_PROGRESS) == set(BatchState) - {BatchState.VALIDATING, BatchState.FAILED}


@pytest.mark.parametrize(
    ("table", "ends"), [(JOB_MOVES, TERMINAL), (BATCH_MOVES, BATCH_TERMINAL)], ids=["job", "batch"]
)
def test_from_every_state_an_end_can_be_reached(table: dict, ends: frozenset) -> None:
    for state in table:
        assert reached(table, state) & ends


def reached(table: dict, start: str) -> set[str]:
    found, ahead = {start}, [start]
    while ahead:
        for targets in table.get(ahead.pop(), {}).values():
            ahead += targets - found
            found |= targets
    return found


def test_the_words_are_those_of_the_wire() -> None:
    assert [state.value for state in JobState] == [
        *("queued", "running", "parked"),
        *("succeeded", "failed", "cancelled", "dead"),
    ]
    assert f"{BatchState.IN_PROGRESS}" == "in_progress"
