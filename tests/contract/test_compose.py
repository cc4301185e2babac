"""`docker-compose.yml` and `Dockerfile`, without Docker: what they say, and every service of theirs as a plain process."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from stack import headrace, until

from headrace.chat.provider_table import PROVIDERS
from headrace.ledger.queues import QUEUES
from headrace.local.ports import free_port
from headrace.local.valkey import bundled_binary
from headrace.settings import Settings, variable

yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).parents[2]
OURS = {"rehearsal", *QUEUES, "gateway", "flower"}
PASSWORDS = {"VALKEY_PASSWORD": "rehearsed0valkey", "FLOWER_PASSWORD": "rehearsed0flower"}
HAND_BACK_S = 20.0  # after the drain: cancelled tasks, the service's stop, the interpreter's end
INNERMOST = re.compile(r"\$\{(?P<name>\w+)(?:(?P<how>:-|:\?|:\+)(?P<word>[^${}]*))?\}")


def compose(environ: dict[str, str]) -> dict[str, Any]:
    """The services of the file, its variables replaced as Compose does. Raises `KeyError` for a required one."""

    def value(found: re.Match[str]) -> str:
        given, how, word = environ.get(found["name"], ""), found["how"], found["word"] or ""
        if how == ":?" and not given:
            raise KeyError(found["name"])
        return (word if given else "") if how == ":+" else given or (word if how == ":-" else "")

    def filled(node: Any) -> Any:
        if isinstance(node, dict):
            return {name: filled(each) for name, each in node.items()}
        if isinstance(node, list):
            return [filled(each) for each in node]
        while isinstance(node, str) and INNERMOST.search(node):
            node = INNERMOST.sub(value, node)
        return node.replace("$$", "$") if isinstance(node, str) else node

    return filled(yaml.safe_load((ROOT / "docker-compose.yml").read_text()))


def dockerfile(instruction: str) -> list[str]:
    """What follows `instruction` in the last stage, line by line."""
    last = (ROOT / "Dockerfile").read_text().rpartition("\nFROM ")[2]
    return re.findall(rf"^{instruction} (.*)$", last, re.MULTILINE)


def seconds(duration: str) -> float:
    return float(duration.removesuffix("s"))


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    return compose(PASSWORDS)["services"]


def test_requires_the_flower_password_and_composes_the_redis_url() -> None:
    with pytest.raises(KeyError, match="FLOWER_PASSWORD"):
        compose({})
    without = compose({"FLOWER_PASSWORD": "x"})["services"]
    assert without["bulk"]["environment"]["HEADRACE_REDIS_URL"] == "redis://valkey:6379/0"
    assert without["valkey"]["environment"] == {"REDISCLI_AUTH": ""}
    within = compose({"FLOWER_PASSWORD": "x", "VALKEY_PASSWORD": "y"})["services"]
    assert within["bulk"]["environment"]["HEADRACE_REDIS_URL"] == "redis://:y@valkey:6379/0"


def test_every_variable_exists(services: dict[str, Any]) -> None:
    known = {variable(name) for name in Settings.__struct_fields__}
    for name in (*QUEUES, "gateway", "flower"):
        environment = services[name]["environment"]
        assert {each for each in environment if each.startswith("HEADRACE_")} <= known
        Settings.load(environment)


SET_HERE = {"redis_url", "files", "strict", "drain_s", "stream_secret_file"}
OF_PRODUCERS = {"api", "api_key"}
OF_PROVIDERS = {name for row in PROVIDERS.values() for name in (row.key_variable, row.base_url_variable) if name}
OF_PROVIDERS = OF_PROVIDERS - {"REHEARSAL_BASE_URL"} | {"OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_MAX_RETRIES"}


def test_every_setting_can_stand_in_dotenv_and_secrets_reach_their_own_service() -> None:
    settings = {variable(name) for name in set(Settings.__struct_fields__) - SET_HERE - OF_PRODUCERS}
    given = {name: f"value-of-{name.lower()}" for name in settings | OF_PROVIDERS} | PASSWORDS
    reached: dict[str, set[str]] = {}
    for service, definition in compose(given)["services"].items():
        text = json.dumps({name: each for name, each in definition.items() if name != "build"})
        for name, value in given.items():
            if value in text:
                reached.setdefault(name, set()).add(service)
    assert set(given) == set(reached)
    workers = set(QUEUES)
    for name in OF_PROVIDERS | {"HEADRACE_PROVIDERS"}:
        assert reached[name] == workers, name
    assert reached["HEADRACE_STREAM_SECRET"] == {"gateway"}
    assert reached["HEADRACE_METRICS_TOKEN"] == {*workers, "gateway"}
    assert reached["FLOWER_PASSWORD"] == {"flower"}
    assert reached["VALKEY_PASSWORD"] == {*workers, "gateway", "flower", "valkey"}


def test_keys_of_providers_of_their_own_reach_the_workers_alone(services: dict[str, Any]) -> None:
    """Their names are not known here: they come from a file that no other service reads, and that may be missing."""
    assert {name for name, each in services.items() if "env_file" in each} == set(QUEUES)
    assert services["bulk"]["env_file"] == [{"path": "providers.env", "required": False}]


def test_no_secret_is_an_argument(services: dict[str, Any]) -> None:
    for service in services.values():
        words = [*service.get("entrypoint", []), *service.get("command", []), *service["healthcheck"]["test"]]
        assert not [word for word in words for secret in PASSWORDS.values() if secret in word]


def test_nothing_is_lost_when_the_composition_stops_or_starts_again(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert service["restart"] == "unless-stopped", name
        assert service["healthcheck"]["test"], name
    for role in QUEUES:
        worker = services[role]
        drain_s = Settings.load(worker["environment"]).drain_s
        assert seconds(worker["stop_grace_period"]) >= drain_s + HAND_BACK_S
        assert worker["depends_on"]["valkey"]["condition"] == "service_healthy"
        assert worker["volumes"] == services[QUEUES[0]]["volumes"], "one file store for all"
    command = services["valkey"]["command"][-1]
    assert "--appendonly yes" in command
    assert "--maxmemory-policy noeviction" in command
    assert services["valkey"]["volumes"] == ["valkey:/data"]
    kept = compose(PASSWORDS)["volumes"]
    assert {each.split(":")[0] for service in services.values() for each in service.get("volumes", [])} == set(kept)


def test_the_gateway_and_flower_are_published_and_only_here(services: dict[str, Any]) -> None:
    assert {name: each["ports"] for name, each in services.items() if "ports" in each} == {
        "gateway": ["127.0.0.1:8400:8400"],
        "flower": ["127.0.0.1:8401:8401"],
    }
    assert services["gateway"]["environment"]["HEADRACE_GATEWAY_OPEN"] == "0"
    assert services["gateway"]["volumes"] == ["gateway:/data", "files:/data/files"]
    assert [name for name, each in services.items() if "gateway:/data" in each.get("volumes", [])] == ["gateway"]
    assert services["flower"]["environment"]["FLOWER_READ_ONLY"] == "true"


def test_the_image_is_built_once_from_the_lock(services: dict[str, Any]) -> None:
    built = [name for name, service in services.items() if "build" in service]
    assert built == ["interactive"], "two exports of one tag at once fail on a clean machine"
    assert {services[name]["image"] for name in OURS} == {services["interactive"]["image"]}
    text = (ROOT / "Dockerfile").read_text()
    assert "--require-hashes" in text
    assert "--no-index" in text
    (user,) = dockerfile("USER")
    assert all(part.isdigit() and int(part) > 0 for part in user.split(":"))
    assert dockerfile("ENTRYPOINT") == ['["headrace"]']
    assert dockerfile("VOLUME") == ["/data"]
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    copied = {word for each in re.findall(r"^COPY (?!--from)(.*) \S+$", text, re.MULTILINE) for word in each.split()}
    let_in = {each[1:] for each in (ROOT / ".dockerignore").read_text().splitlines() if each.startswith("!")}
    assert {package.split("/")[0] for package in packages["packages"]} < copied == let_in
    assert all((ROOT / each).exists() for each in copied)


def test_no_secret_is_written_down() -> None:
    for name in ("Dockerfile", "docker-compose.yml", ".dockerignore"):
        text = (ROOT / name).read_text()
        assert not re.search(r"sk-\w{8}|BEGIN [A-Z ]*PRIVATE", text)
        for key, value in re.findall(
            r"^\s*(\w*(?:KEY|PASSWORD|BASIC_AUTH|REDISCLI_AUTH|SECRET(?!_FILE))\w*): (.*)$", text, re.M
        ):
            assert re.fullmatch(r"(headrace:)?\$\{\w+:[-?][^}]*\}", value), key


def test_docker_understands_it() -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("no `docker compose` here")
    done = subprocess.run(
        [docker, "compose", "config", "--quiet"],
        cwd=ROOT,
        env={**os.environ, **PASSWORDS},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


class Here:
    """The services of the file as processes of this machine: hosts become loopback, ports free ones, volumes folders."""

    def __init__(self, services: dict[str, Any], folder: Path):
        self.services = services
        self.folder = folder
        self.ports = {port: str(free_port()) for port in ("6379", "8400", "8401", "8402")}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.bin = folder / "bin"
        for each in ("bin", "tmp", "volumes"):
            (folder / each).mkdir()
        (self.bin / "valkey-server").symlink_to(bundled_binary())
        entrypoint = self.bin / "docker-entrypoint.sh"  # of Valkey's image: it gives up root, and does what it is told
        entrypoint.write_text('#!/bin/sh\nexec "$@" --bind 127.0.0.1\n')
        entrypoint.chmod(0o755)
        (self.bin / "valkey-cli").symlink_to(Path(sys.executable).parent / "redis-cli")

    def moved(self, service: dict[str, Any], text: str) -> str:
        places = {"valkey:6379": f"127.0.0.1:{self.ports['6379']}", "rehearsal:8402": f"127.0.0.1:{self.ports['8402']}"}
        places |= {"0.0.0.0": "127.0.0.1", "/tmp/": f"{self.folder}/tmp/", **self.ports}
        for volume in service.get("volumes", []):
            name, _, path = volume.partition(":")
            places[path] = str(self.folder / "volumes" / name)
            (self.folder / "volumes" / name).mkdir(exist_ok=True)
        return re.sub(
            "|".join(map(re.escape, sorted(places, key=len, reverse=True))), lambda found: places[found[0]], text
        )

    def environment(self, name: str) -> dict[str, str]:
        """What the process gets: the file's own environment and a PATH, nothing of ours."""
        service = self.services[name]
        path = f"{self.bin}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        given = {"PATH": path, "PYTHONPATH": os.environ.get("PYTHONPATH", ""), "HOME": str(self.folder)}
        return given | {key: self.moved(service, each) for key, each in service.get("environment", {}).items()}

    def start(self, name: str) -> None:
        service = self.services[name]
        entrypoint = service.get("entrypoint", [] if name == "valkey" else json.loads(dockerfile("ENTRYPOINT")[0]))
        command = [self.moved(service, each) for each in [*entrypoint, *service.get("command", [])]]
        environment = self.environment(name)
        program = shutil.which(command[0], path=environment["PATH"])
        assert program, command[0]
        with (self.folder / f"{name}.log").open("wb") as log:
            self.processes[name] = subprocess.Popen(
                [program, *command[1:]],
                env=environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def is_healthy(self, name: str) -> bool:
        """Run its health check once, as Docker would."""
        assert self.processes[name].poll() is None, self.log(name)
        check = self.services[name]["healthcheck"]
        kind, *words = [self.moved(self.services[name], each) for each in check["test"]]
        command = {"CMD": words, "CMD-SHELL": ["/bin/sh", "-c", *words]}[kind]
        environment = self.environment(name)
        program = shutil.which(command[0], path=environment["PATH"])
        assert program, command[0]
        done = subprocess.run(
            [program, *command[1:]],
            env=environment,
            cwd=self.folder,
            capture_output=True,
            check=False,
            timeout=seconds(check["timeout"]) + 10,
        )
        return done.returncode == 0

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def stop(self, name: str) -> int:
        process = self.processes[name]
        process.send_signal(signal.SIGTERM)
        return process.wait(seconds(self.services[name]["stop_grace_period"]))


@pytest.fixture(scope="module")
def here(services: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Here]:
    running = Here(services, tmp_path_factory.mktemp("compose"))
    try:
        running.start("valkey")
        until(lambda: running.is_healthy("valkey"), what="valkey is healthy")
        for name in sorted(OURS):
            running.start(name)
        for name in sorted(OURS):
            until(lambda name=name: running.is_healthy(name), what=f"{name} is healthy")
        yield running
    finally:
        for process in running.processes.values():
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.wait()


def test_every_service_becomes_healthy_and_works(here: Here) -> None:
    environment = here.environment("interactive")
    done = headrace("run", "Why is the sky blue?", "--model", "rehearsal/small", cwd=here.folder, env=environment)
    assert done.returncode == 0, done.stderr
    assert "Why is the sky blue?" in done.stdout
    (here.folder / "in.jsonl").write_text('{"id": "a", "text": "The lid is loose."}\n')
    extract = ["extract", "in.jsonl", "--model", "rehearsal/small", "--out", "rows.jsonl"]
    done = headrace(*extract, cwd=here.folder, env=environment)
    assert done.returncode == 0, done.stderr
    assert (here.folder / "volumes" / "files" / "files" / ".store-id").exists()
    doctor = headrace("doctor", cwd=here.folder, env=environment)
    assert doctor.returncode == 0, doctor.stdout
    assert not [each for each in doctor.stdout.splitlines() if not each.startswith("ok ")]
    assert all(secret not in doctor.stdout for secret in PASSWORDS.values())


def test_flower_asks_for_its_password(here: Here) -> None:
    request = urllib.request.Request(f"http://127.0.0.1:{here.ports['8401']}/workers")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=5)
    assert refused.value.code == 401
    refused.value.close()
    word = base64.b64encode(f"headrace:{PASSWORDS['FLOWER_PASSWORD']}".encode()).decode()
    request.add_header("Authorization", f"Basic {word}")

    def page() -> str:
        with urllib.request.urlopen(request, timeout=5) as response:
            return response.read().decode()

    until(lambda: all(f"{role}-" in page() for role in QUEUES), what="Flower sees the workers")


def call(here: Here, method: str, path: str, token: str = "", body: Any = None) -> tuple[int, Any]:
    """The status and the JSON that the gateway answers with."""
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    data = None if body is None else json.dumps(body).encode()
    url = f"http://127.0.0.1:{here.ports['8400']}{path}"
    request = urllib.request.Request(url, data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, None


def minted(here: Here) -> str:
    """A token, as docs/compose.md says."""
    done = headrace("gateway", "--token", cwd=here.folder, env=here.environment("gateway"))
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_gateway_demands_tokens_signed_with_a_secret_of_its_own(here: Here) -> None:
    body = {"model": "rehearsal/small", "messages": [{"role": "user", "content": "Why is the sky blue?"}]}
    assert call(here, "POST", "/v1/jobs", body=body)[0] == 401
    token = minted(here)
    status, job = call(here, "POST", "/v1/jobs", token, body)
    assert status == 202
    shown = until(
        lambda: (said := call(here, "GET", f"/v1/jobs/{job['id']}", token)[1])["status"] == "succeeded" and said,
        what="the job is done",
    )
    assert "Why is the sky blue?" in json.dumps(shown)
    secret = here.folder / "volumes" / "gateway" / "stream.secret"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    here.stop("gateway")
    here.start("gateway")
    until(lambda: here.is_healthy("gateway"), what="the gateway is back")
    assert call(here, "GET", f"/v1/jobs/{job['id']}", token)[0] == 200, "the secret outlives a restart"


def test_no_secret_is_in_the_arguments_of_a_process(here: Here) -> None:
    secret = (here.folder / "volumes" / "gateway" / "stream.secret").read_text().strip()
    for name, process in here.processes.items():
        arguments = Path(f"/proc/{process.pid}/cmdline").read_text()
        assert not [each for each in (secret, *PASSWORDS.values()) if each in arguments], name


def test_a_worker_that_hangs_is_not_healthy(here: Here) -> None:
    here.processes["quarantine"].send_signal(signal.SIGSTOP)
    assert not here.is_healthy("quarantine")
    here.processes["quarantine"].send_signal(signal.SIGCONT)
    until(lambda: here.is_healthy("quarantine"), what="it is healthy again")


def test_every_service_stops_in_order_within_its_time(here: Here) -> None:
    for name in ("gateway", "flower", *QUEUES, "rehearsal", "valkey"):
        assert here.stop(name) == 0, here.log(name)
