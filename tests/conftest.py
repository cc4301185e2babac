"""Servers for the tests: a real Valkey for a session, or one for a test that kills it."""

from __future__ import annotations

import gc
import logging
import os
import secrets
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, settings

from headrace.local.valkey import EmbeddedServer

# On a busy machine any example may take long: what is bounded is counted, not timed.
settings.register_profile("headrace", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("fast", settings.get_profile("headrace"), max_examples=10)
settings.load_profile("headrace")


LONG = frozenset({"test_table_formats.py", "test_answer_bounds.py", "test_schema_bounds.py"})
EARLIER = frozenset({"browser", "contract"})


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--chaos-rounds", type=int, default=1, help="how often the random fault tests run, each with new seeds"
    )
    parser.addoption("--fuzz-seconds", type=float, default=20, help="how long each fuzz of the gateway goes on")
    parser.addoption("--soak-minutes", type=float, default=0.25, help="how long the soak test keeps the service busy")


def pytest_configure() -> None:
    """Trust one authority in place of the system's hundred and forty: every process of the suite would take 40 ms to read
    those, as would every HTTP client, and nothing calls out."""
    os.environ["SSL_CERT_FILE"] = str(Path(__file__).parent / "support" / "authority.pem")
    os.environ.pop("SSL_CERT_DIR", None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin the files that keep a core busy for a minute before the many short ones, or they are what is left at the end."""
    items.sort(key=lambda item: 1 if item.path.name in LONG else 0 if item.path.parent.name in EARLIER else 2)


def pytest_collection_finish() -> None:
    """What collection made lives as long as the session: ten thousand tests need not be walked by each `gc.collect()`."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def as_logging_was() -> Iterator[None]:
    """A command that a test runs within its own process sets up logging as a program does: that ends with the test."""
    loggers = [logging.getLogger(name) for name in (None, "headrace", "py.warnings")]
    levels, handlers = [logger.level for logger in loggers], list(loggers[0].handlers)
    hooks = sys.excepthook, sys.unraisablehook, threading.excepthook, warnings.formatwarning
    yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)
    for handler in loggers[0].handlers[:]:
        if handler not in handlers:
            loggers[0].removeHandler(handler)
    sys.excepthook, sys.unraisablehook, threading.excepthook, warnings.formatwarning = hooks
    if structlog.is_configured():
        structlog.reset_defaults()


@pytest.fixture(params=["sdk", "http"])
def each_transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test for each way to call a provider: `transport_of()` and the provider classes made within it use that one."""
    monkeypatch.setenv("HEADRACE_TRANSPORT", request.param)


@pytest.fixture(scope="session")
def valkey_url() -> Iterator[str]:
    """One Valkey for the whole session (per xdist worker); tests part by `namespace`."""
    with tempfile.TemporaryDirectory() as folder:
        server = EmbeddedServer(Path(folder), arguments=("--enable-debug-command", "yes"))
        server.start()
        yield server.url
        server.stop()


@pytest.fixture
def namespace() -> str:
    return f"t{secrets.token_hex(6)}"


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[Callable[..., EmbeddedServer]]:
    """Start a Valkey of the test's own, to be killed, stopped or filled."""
    servers: list[EmbeddedServer] = []

    def start(*arguments: str, folder: str = "valkey") -> EmbeddedServer:
        server = EmbeddedServer(tmp_path / folder, arguments=arguments)
        server.start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.stop()
