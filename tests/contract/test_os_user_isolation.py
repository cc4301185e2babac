"""A second user of the machine reads no prompt, no answer and no key: every file, socket and process of a running service,
and of a command that talks to it, as `nobody`. And each process of it has no secret but its own."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import secrets
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from stack import Stack, alive, started, until

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can become nobody"),
]

NOBODY = 65534
PROMPT = f"the-prompt-of-somebody-{secrets.token_hex(8)}"
KEYS = {
    "OPENAI_API_KEY": "sk-planted-openai-0123456789",
    "OPENROUTER_API_KEY": "sk-planted-openrouter-0123456789",
    "MY_TOKEN": "planted-token-of-mine-0123456789",
    "ANTHROPIC_API_KEY": "sk-planted-anthropic-0123456789",
}
PROVIDERS = {
    "mine": {"base_url": "http://127.0.0.1:9/v1", "key_variable": "MY_TOKEN", "headers": {"X-A": "planted-header-0123"}}
}
WORKERS_ONLY = (*KEYS.values(), "planted-header-0123")


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    # Not below pytest's own folder, which is closed to others as a whole: these are folders as a user would have them.
    with tempfile.TemporaryDirectory(prefix="second-user-") as folder:
        Path(folder).chmod(0o755)
        old = Path(folder) / ".headrace"  # of a version that left all of it readable
        for each in ("logs", "files", "valkey"):
            (old / each).mkdir(parents=True)
        (old / "logs" / "bulk.log").write_text(PROMPT)
        for path in (old, *old.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        environment = {**KEYS, "HEADRACE_PROVIDERS": json.dumps(PROVIDERS)}
        before = os.umask(0o022)
        try:
            with started(Path(folder), environment=environment) as stack:
                yield stack
        finally:
            os.umask(before)


def as_nobody(look: Callable[[], Any]) -> Any:
    """What `look` returns (JSON) in a process of another user."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        status = 1
        try:
            os.chdir("/")
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            with os.fdopen(writer, "w") as pipe:
                try:
                    json.dump(look(), pipe)
                    status = 0
                except BaseException:
                    pipe.write(traceback.format_exc())
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        text = pipe.read()
    assert os.waitpid(pid, 0)[1] == 0, text
    return json.loads(text)


def read(path: Path) -> bytes:
    try:
        # Not blocking: a FIFO would hold us up.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            return file.read(8 << 20) or b""
    except OSError:
        return b""


def pids_of(stack: Stack) -> dict[int, str]:
    """Every process of the service, with its command line."""
    found: dict[int, str] = {}
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and alive(int(entry.name)):
            parents[int(entry.name)] = int(read(entry / "stat").rpartition(b")")[2].split()[1] or 0)
    for pid in parents:
        line = [pid]
        while line[-1] in parents:
            line.append(parents[line[-1]])
        if stack.process.pid in line:
            found[pid] = read(Path(f"/proc/{pid}/cmdline")).replace(b"\0", b" ").decode().strip()
    return found


def works(stack: Stack) -> None:
    """A job and a batch with the prompt in it, so that there is something to find."""
    done = stack.run("run", "-", "--model", "rehearsal/small", input=PROMPT)
    assert PROMPT in done.stdout, done.stderr
    stack.extract([{"id": "a", "text": PROMPT}])
    until(lambda: list(Path(stack.ready["files"]).glob("batch_*/output*")), what="the batch has ended")


def test_nobody_else_reads_a_file(stack: Stack) -> None:
    works(stack)
    roots = [stack.folder / ".headrace", Path(stack.ready["redis"].removeprefix("unix://")).parent]
    everything = [path for root in roots for path in (root, *root.rglob("*"))]
    assert any(PROMPT.encode() in read(path) for path in everything if path.is_file()), "there is something to find"

    def look() -> list[str]:
        return [str(path) for path in everything if os.access(path, os.R_OK) or read(path)]

    assert as_nobody(look) == []
    for path in everything:
        with contextlib.suppress(FileNotFoundError):
            assert path.is_symlink() or not stat.S_IMODE(path.lstat().st_mode) & 0o077, path
    assert as_nobody(lambda: read(stack.folder / "ready.json").decode()) == ""


def test_nothing_is_left_where_all_can_read(stack: Stack) -> None:
    began = time.time() - 1
    works(stack)

    def look() -> list[str]:
        found = []
        for root in ("/tmp", "/var/tmp", "/dev/shm"):
            for folder, _, names in os.walk(root):
                for path in (Path(folder, name) for name in names):
                    with contextlib.suppress(OSError):
                        if path.lstat().st_mtime >= began and PROMPT.encode() in read(path):
                            found.append(str(path))
        return found

    assert set(as_nobody(look)) <= {str(stack.folder / "input.jsonl")}, "the test's own input, and nothing else"


def test_nobody_else_talks_to_the_server(stack: Stack) -> None:
    address = stack.ready["redis"].removeprefix("unix://")

    def look() -> str:
        try:
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(address)
                client.sendall(b"KEYS *\r\n")
                return client.recv(1000).decode()
        except PermissionError:
            return "refused"

    assert as_nobody(look) == "refused"
    listening = {
        line.split()[1] for name in ("tcp", "tcp6") for line in read_lines(f"/proc/net/{name}") if " 0A " in line
    }
    ports = {int(each.rpartition(":")[2], 16) for each in listening}
    ours = {int(stack.ready[name].rpartition(":")[2]) for name in ("gateway", "flower", "rehearsal")}
    assert ours <= ports


def read_lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()[1:]


def test_nobody_else_learns_anything_from_the_ports(stack: Stack) -> None:
    works(stack)
    ready = stack.ready
    paths = ("/", "/account", "/account.jsonl", "/v1/calls", "/v1/jobs", "/v1/batches", "/v1/chat/completions")
    paths += (
        "/jobs",
        "/tasks",
        "/workers",
        "/metrics",
        "/api/tasks",
        "/api/workers",
        "/task/x",
        "/healthz",
        "/healthcheck",
    )
    places = [f"{ready[name]}{path}" for name in ("gateway", "flower", "rehearsal") for path in paths]

    "x".encode("idna")  # its module is not for nobody to import

    def look() -> dict[str, Any]:
        return {place: answer_of(place) for place in places}

    for place, (status, text) in as_nobody(look).items():
        assert PROMPT not in text, place
        assert "job_" not in text.replace("job_…", ""), place
        assert "batch_" not in text, place
        if place.startswith(ready["flower"]) and not place.endswith("/healthcheck"):
            assert status in (401, 404), place


def answer_of(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            return answer.status, answer.read().decode(errors="replace")
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.read().decode(errors="replace")


@pytest.mark.parametrize(
    "program",
    [[sys.executable, "-m", "headrace"], [str(Path(sys.executable).with_name("headrace"))]],
    ids=["-m", "script"],
)
def test_nobody_else_reads_anything_of_a_process(stack: Stack, program: list[str]) -> None:
    before = len(stack.calls())
    process = subprocess.Popen(
        [*program, "run", f"[[rehearsal latency=60000]] {PROMPT}", "--system", "", "--model", "rehearsal/small"],
        env=stack.client_environment,
        cwd=stack.folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: len(stack.calls()) > before, what="the provider has the call")
        pids = [*pids_of(stack), process.pid]

        def look() -> str:
            kinds = ("cmdline", "environ", "maps", "mem", "stack", "comm", "task")
            texts = [read(Path(f"/proc/{pid}/{kind}")) for pid in pids for kind in kinds if kind != "task"]
            return b"\n".join(texts).decode(errors="replace")

        seen = as_nobody(look)
        assert "headrace\0run\0" in seen, "command lines are readable by all"
        for secret in (PROMPT, stack.ready["flower_password"], *WORKERS_ONLY):
            assert secret not in seen
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)


def test_an_open_gateway_is_open_to_its_own_user_alone(stack: Stack) -> None:
    gateway = urlsplit(stack.ready["gateway"])

    def look() -> str:
        said = []
        for path in ("/healthz", "/v1/ui/chat/support-42/stream"):
            connection = http.client.HTTPConnection(str(gateway.hostname), gateway.port, timeout=30)
            connection.request("GET", path)
            answer = connection.getresponse()
            said.append(f"{answer.status} {answer.read().decode()}")
            connection.close()
        return "\n".join(said)

    for line in as_nobody(look).splitlines():
        assert line.startswith("403 ")
        assert "HEADRACE_GATEWAY_OPEN" in line
    assert look().startswith("200 ")


def test_each_process_has_its_own_secrets_alone(stack: Stack) -> None:
    works(stack)
    secret = (stack.folder / ".headrace" / "stream.secret").read_text().strip()
    password = stack.ready["flower_password"]
    seen = set()
    for pid, command in pids_of(stack).items():
        role = role_of(command)
        seen.add(role)
        environment = read(Path(f"/proc/{pid}/environ")).decode()
        if not environment and not alive(pid):
            continue
        assert (secret in environment) == (role == "gateway"), command
        assert (password in environment) == (role == "flower"), command
        for key in WORKERS_ONLY:
            assert (key in environment) == (role in ("worker", "up")), (command, key)
        for each in (secret, password, *WORKERS_ONLY, PROMPT):
            assert each not in command
    assert seen == {"up", "worker", "gateway", "flower", "rehearsal", "server"}


def role_of(command: str) -> str:
    names = {
        "headrace_worker": "worker",
        "headrace_api": "gateway",
        "headrace.broker.flower": "flower",
        "headrace up": "up",
    }
    names |= {"headrace_rehearsal": "rehearsal", "unixsocket:": "server", "validation_process": "validation"}
    names |= {"multiprocessing": "worker"}
    return next((role for part, role in names.items() if part in command), command)
