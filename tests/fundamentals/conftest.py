"""What the tutorial stands on: a ledger on a real Valkey, and one running service that all its files share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from stack import Stack, started

from headrace import Headrace
from headrace.ledger.script import Ledger
from headrace.settings import Settings


@pytest.fixture
async def ledger(valkey_url: str, namespace: str) -> AsyncIterator[Ledger]:
    """A ledger of the test's own: no worker runs, so a test plays all parts by itself."""
    ledger = Ledger.at(valkey_url, namespace)
    yield ledger
    await ledger.close()


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """`headrace up`: workers, gateway, and the rehearsal provider, which keeps an account of each call. Nobody kills it."""
    with started(tmp_path_factory.mktemp("service"), "--no-flower") as stack:
        yield stack


@pytest.fixture
def client(stack: Stack) -> Iterator[Headrace]:
    with Headrace(settings=Settings.load(stack.client_environment)) as client:
        yield client
