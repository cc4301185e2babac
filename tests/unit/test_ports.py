"""Free ports: none that the system could hand to a connection meanwhile."""

import socket
from pathlib import Path

import pytest

from headrace.local import ports
from headrace.local.ports import ephemeral_start, free_port


def test_a_free_port_is_none_that_a_connection_going_out_could_be_given() -> None:
    assert all(ports.FIRST_PORT <= free_port() < ephemeral_start() for _ in range(50))


def test_ports_in_a_row_are_all_free() -> None:
    first = free_port(row=3)
    sockets = [socket.socket() for _ in range(3)]
    try:
        for offset, each in enumerate(sockets):
            each.bind(("127.0.0.1", first + offset))
        assert not any(ports.is_free(first + offset) for offset in range(3))
    finally:
        for each in sockets:
            each.close()


@pytest.mark.parametrize("content", [None, "", "a b", "1024\t65535\n"])
def test_without_a_range_of_its_own_any_free_port_will_do(
    content: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A system that gives connections any port, or does not say which."""
    path = tmp_path / "range"
    if content is not None:
        path.write_text(content)
    monkeypatch.setattr(ports, "EPHEMERAL_RANGE", path)
    assert ports.is_free(free_port(row=2))
