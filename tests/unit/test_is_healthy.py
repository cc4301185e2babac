"""`headrace up` asks the programs it starts whether they serve: whatever answers, it goes on waiting, or it is served."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from headrace.local.stack import is_healthy


@contextlib.contextmanager
def answering(answer: bytes | None) -> Iterator[int]:
    """The port of a server that says `answer` to whatever it is told; with None, what it was told."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):  # closed: the test is over
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        told = connection.recv(65536)
                        connection.sendall(told if answer is None else answer)

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nOK"


def test_a_server_that_answers_is_healthy() -> None:
    with answering(OK) as port:
        assert is_healthy(port, "/healthcheck")


@pytest.mark.parametrize(
    "answer",
    [None, b"", b"220 mail.example ESMTP\r\n", b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"],
    ids=["itself", "nothing", "mail", "busy"],
)
def test_anything_else_is_not_there_yet(answer: bytes | None) -> None:
    with answering(answer) as port:
        assert not is_healthy(port, "/healthcheck")


def test_a_port_where_nobody_listens_is_not_there_yet() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        assert not is_healthy(unused.getsockname()[1], "/healthcheck")


def test_the_proxy_of_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with answering(OK) as port:
        assert is_healthy(port, "/healthcheck")
