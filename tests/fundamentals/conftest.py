"""A ledger of each test's own, on a real Valkey."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from headrace.ledger.script import Ledger


@pytest.fixture
async def ledger(valkey_url: str, namespace: str) -> AsyncIterator[Ledger]:
    ledger = Ledger.at(valkey_url, namespace)
    yield ledger
    await ledger.close()
