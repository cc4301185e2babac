"""`headrace doctor` says who else reaches the server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from headrace.doctor.access import access
from headrace.doctor.context import DoctorContext
from headrace.local.ports import free_port
from headrace.local.valkey import EmbeddedServer
from headrace.settings import Settings

PASSWORD = "hunter2-of-the-test"


def look(url: str) -> tuple[str, str]:
    bench = DoctorContext(Settings(redis_url=url), {})
    try:
        found = access(bench)
    finally:
        bench.client.close()
    assert PASSWORD not in repr(found)
    return found.status, found.what


def test_a_socket_of_our_own(own_valkey: Callable[..., EmbeddedServer]) -> None:
    assert look(own_valkey().url) == ("ok", "its socket is not for everybody")


@pytest.mark.parametrize("credentials", ["", "default:anything@"])
def test_a_port_without_a_password(own_valkey: Callable[..., EmbeddedServer], credentials: str) -> None:
    port = free_port()
    server = own_valkey("--port", str(port), "--bind", "127.0.0.1")
    if credentials:  # it asks for none, whatever the URL brings
        with redis.Redis.from_url(server.url) as client:
            client.acl_setuser("default", enabled=True, nopass=True)
    status, what = look(f"redis://{credentials}127.0.0.1:{port}/0")
    assert status == "warning"
    assert "whoever reaches its port" in what


@pytest.mark.parametrize("url", ["redis://:{}@127.0.0.1:{}/0", "redis://127.0.0.1:{1}/0?password={0}"])
def test_a_port_with_a_password(own_valkey: Callable[..., EmbeddedServer], url: str) -> None:
    port = free_port()
    server = own_valkey("--port", str(port), "--bind", "127.0.0.1")
    with redis.Redis.from_url(server.url) as client:
        client.config_set("requirepass", PASSWORD)
    assert look(url.format(PASSWORD, port)) == ("ok", "it answers nobody without a password")


def test_a_socket_for_everybody(own_valkey: Callable[..., EmbeddedServer], tmp_path: Path) -> None:
    server = own_valkey()
    server.socket.chmod(0o777)
    assert look(server.url)[0] == "ok", "its folder is closed"
    server.socket.parent.chmod(0o755)
    assert look(server.url) == (
        "warning",
        "it asks for no password: every user of this machine reads every prompt and answer",
    )
