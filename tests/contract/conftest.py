"""What the tests of real processes share: a running service for each file, and what reads a log on a Valkey.

A file that needs the service in another form has a fixture `stack` of its own, which then holds there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from node_clients import installed
from stack import Stack, started

from headrace import Headrace
from headrace.events.reader import Reader
from headrace.ledger.script import Ledger
from headrace.local.ports import free_port
from headrace.local.valkey import EmbeddedServer
from headrace.settings import Settings


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """`headrace up` without Flower, for all tests of a file."""
    with started(tmp_path_factory.mktemp("service"), "--no-flower") as stack:
        yield stack


@pytest.fixture(scope="session")
def packages() -> Path:
    """The programs for Node, with their clients installed."""
    return installed()


@pytest.fixture
def base(stack: Stack) -> str:
    """The URL of the service's gateway."""
    return stack.ready["gateway"]


@pytest.fixture
def client(stack: Stack, request: pytest.FixtureRequest) -> Iterator[Headrace]:
    """The SDK's client of the service: with access to Redis, or (the parameter `http`) through the gateway."""
    if getattr(request, "param", "redis") == "http":
        with Headrace(api=stack.ready["gateway"], settings=Settings()) as client:
            yield client
        return
    with Headrace(settings=Settings.load(stack.client_environment)) as client:
        yield client


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the tests of a file that sets `BOTH_WAYS` with access to Redis, and through the gateway."""
    if getattr(metafunc.module, "BOTH_WAYS", False) and "client" in metafunc.fixturenames:
        metafunc.parametrize("client", ["redis", "http"], indirect=True)


@pytest.fixture
async def reader(ledger: Ledger) -> AsyncIterator[Reader]:
    """A reader on the ledger that the file's own fixture `ledger` gives."""
    reader = Reader(ledger)
    yield reader
    await reader.close()


@pytest.fixture
def forgetful_port(own_valkey: Callable[..., EmbeddedServer]) -> int:
    """The port of a Valkey that writes nothing to disk, so that a restart or a failover forgets."""
    port = free_port()
    network = ("--bind", "127.0.0.1", "--port", str(port))
    own_valkey(*network, "--save", "", "--appendonly", "no", "--repl-diskless-sync-delay", "0")
    return port
