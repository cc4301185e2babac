"""`headrace up`: one tree of processes that starts, heals itself, stops, and leaves nothing behind."""

from __future__ import annotations

import base64
import os
import signal
import socket
import stat
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from headrace_worker.worker_process import WorkerProcess
from stack import alive, headrace, started, tree, until

from headrace.errors import EmbeddedServerError, InputError, SettingsError
from headrace.local.ports import free_port
from headrace.local.stack import Stack, StackOptions
from headrace.local.valkey import EmbeddedServer
from headrace.settings import Settings


def quiet(*arguments: str, **variables: str) -> tuple[list[str], dict[str, str]]:
    unset = {"HEADRACE_REDIS_URL", "HEADRACE_FILES", "OPENAI_API_KEY"}
    environment = {name: value for name, value in os.environ.items() if name not in unset} | variables
    return ["up", "--no-flower", "--rehearsal", *arguments], environment


def test_the_service_is_ready_heals_and_stops(tmp_path: Path) -> None:
    with started(tmp_path) as stack:
        ready = stack.ready
        assert set(ready) >= {"pid", "redis", "flower", "flower_password", "rehearsal", "workers"}
        assert all(alive(pid) for pid in ready["workers"].values())
        assert stat.S_IMODE((tmp_path / "ready.json").stat().st_mode) == 0o600
        assert stat.S_IMODE((tmp_path / ".headrace").stat().st_mode) == 0o700
        assert stack.client.ping()
        check_flower(ready["flower"], ready["flower_password"])
        old = ready["workers"]["interactive"]
        os.kill(old, signal.SIGKILL)
        new = until(
            lambda: (pid := stack.ready["workers"]["interactive"]) not in {old, None} and pid, what="a new worker"
        )
        assert alive(new)
        with stack.client as client:
            client.set("kept", "1")
        server = int((tmp_path / ".headrace" / "valkey" / "valkey.pid").read_text())
        os.kill(server, signal.SIGKILL)
        until(lambda: answers(stack.client), what="Valkey is back on the same socket")
        assert stack.client.get("kept") == b"1"
        assert stack.run("run", "Still there?", "--model", "rehearsal/small").returncode == 0
        assert len(tree(tmp_path)) >= 6
        stack.process.send_signal(signal.SIGTERM)
        assert stack.process.wait(30) == 0
    until(lambda: tree(tmp_path) == [], what="nothing stays", seconds=5)
    assert not (tmp_path / ".headrace" / "up.json").exists()
    (tmp_path / "ready.json").unlink()
    with started(tmp_path, "--no-flower") as again:
        assert again.client.get("kept") == b"1"
        again.process.kill()
        again.process.wait()
        until(lambda: tree(tmp_path) == [], what="no orphan after a SIGKILL", seconds=4)


def answers(client: object) -> bool:
    import redis

    assert isinstance(client, redis.Redis)
    try:
        return bool(client.ping())
    except (redis.RedisError, OSError):
        return False


def check_flower(url: str, password: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{url}/workers", timeout=10)
    assert refused.value.code == 401
    refused.value.close()
    token = base64.b64encode(f"headrace:{password}".encode()).decode()
    request = urllib.request.Request(f"{url}/workers", headers={"Authorization": f"Basic {token}"})
    workers = ("bulk", "interactive", "quarantine")
    until(lambda: all(name in fetch(request) for name in workers), what="Flower shows the workers", seconds=20)
    shutdown = urllib.request.Request(f"{url}/api/worker/shutdown/x", headers=dict(request.header_items()), data=b"")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(shutdown, timeout=10)
    assert refused.value.code == 403, "read-only unless asked"
    refused.value.close()


def fetch(request: urllib.request.Request) -> str:
    with urllib.request.urlopen(request, timeout=10) as response:
        return response.read().decode()


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    for _ in range(5):  # the port before it may be taken meanwhile by somebody else
        port = free_port(row=2) + 1
        with socket.socket() as holder:
            holder.bind(("127.0.0.1", port))
            holder.listen()
            arguments, environment = quiet("--port", str(port - 1), "--data", str(tmp_path / ".headrace"))
            done = headrace(*arguments, env=environment)
        if f"port {port - 1} " not in done.stderr:
            break
    assert done.returncode == 2
    assert str(port) in done.stderr
    assert "--port 0" in done.stderr
    assert tree(tmp_path) == []


def test_two_on_one_folder(tmp_path: Path) -> None:
    with started(tmp_path, "--no-flower") as stack:
        arguments, environment = quiet("--port", "0", "--data", str(tmp_path / ".headrace"))
        done = headrace(*arguments, env=environment)
        assert done.returncode == 2
        assert "--data" in done.stderr
        assert stack.run("run", "Still there?", "--model", "rehearsal/small").returncode == 0


def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.local.stack.EXTRAS", ("headrace_worker", "no_such_package"))
    with pytest.raises(InputError, match=r"no_such_package.*headrace\[up\]") as said:
        Stack(Settings(), StackOptions(tmp_path / ".headrace"))._check_extras()
    assert said.value.exit_code == 2


def test_a_child_that_cannot_start_ends_it_with_its_log(tmp_path: Path) -> None:
    arguments, environment = quiet("--port", "0", "--data", str(tmp_path / "s"), HEADRACE_CACHE_URL="http://no-redis")
    done = headrace(*arguments, env=environment)
    assert done.returncode == 3
    assert "the worker cannot start" in done.stderr
    assert tree(tmp_path) == []


@pytest.mark.parametrize(
    ("variable", "value", "word"),
    [
        ("HEADRACE_PROVIDERS", "no_such_file.json", "no_such_file.json"),
        ("HEADRACE_LIMITS", '{"rehearsal": {"requests_per_min": 0}}', "/rehearsal/requests_per_min"),
        ("HEADRACE_LIMITS", '{"nobody": {"in_flight": 1}}', "/nobody"),
        ("HEADRACE_PROFILES", "no_such_file.json", "no_such_file.json"),
        ("HEADRACE_PROFILES", '{"rehearsal/small": {"input": -2, "output": 8}}', "input"),
        ("HEADRACE_PROFILES", '{"rehearsal/small": {"input": 2, "output": "8"}}', "output"),
        ("HEADRACE_PROFILES", '{"rehearsal/small": {"input": 2, "output": 8, "context_length": 0}}', "context_length"),
    ],
)
def test_a_table_that_cannot_be_used_is_told_before_anything_starts(
    tmp_path: Path, variable: str, value: str, word: str
) -> None:
    if variable == "HEADRACE_PROFILES" and value.startswith("{"):
        file = tmp_path / "profiles.json"
        file.write_text(value)
        file.chmod(0o600)
        value = str(file)
    arguments, environment = quiet("--port", "0", "--data", str(tmp_path / "s"), **{variable: value})
    done = headrace(*arguments, env=environment)
    assert done.returncode == 2
    assert variable in done.stderr
    assert word in done.stderr
    assert not (tmp_path / "s").exists()


def test_a_worker_does_not_start_with_prices_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="HEADRACE_PROFILES"):
        WorkerProcess(Settings(profiles=str(tmp_path / "none.json")), "redis://none", "bulk")


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    arguments, environment = quiet(
        "--port", "0", "--data", str(tmp_path / "s"), HEADRACE_REDIS_URL="redis://127.0.0.1:9/0"
    )
    done = headrace(*arguments, env=environment)
    assert done.returncode == 3
    assert "redis://127.0.0.1:9/0" in done.stderr


@pytest.mark.parametrize(
    ("setting", "word"),
    [(("--appendonly", "no"), "does not persist"), (("--maxmemory-policy", "allkeys-lru"), "evicts")],
)
def test_a_server_not_to_be_trusted(
    tmp_path: Path, own_valkey: Callable[..., EmbeddedServer], setting: tuple[str, str], word: str
) -> None:
    server = own_valkey(*setting)
    arguments, environment = quiet(
        "--port", "0", "--data", str(tmp_path / "s"), HEADRACE_REDIS_URL=server.url, HEADRACE_STRICT="1"
    )
    done = headrace(*arguments, env=environment)
    assert done.returncode == 2
    assert "WARNING" in done.stderr
    assert word in done.stderr


def test_two_servers_on_one_folder_are_refused(tmp_path: Path) -> None:
    first, second = EmbeddedServer(tmp_path / "a b" / ("long" * 40)), EmbeddedServer(tmp_path / "a b" / ("long" * 40))
    first.start()
    try:
        with pytest.raises(EmbeddedServerError, match="in use"):
            second.start()
    finally:
        first.stop()
    second.start()
    second.stop()
