"""`docker-compose.yml` and `Dockerfile`, without Docker: what they say, and every service of theirs as a plain process."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import shlex
import shutil
import signal
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

from headrace.embedded import bundled_binary
from headrace.hint import QUEUES
from headrace.settings import Settings, variable
from headrace.up import free_port

yaml = pytest.importorskip("yaml")

pytestmark = pytest.mark.xdist_group("compose")

ROOT = Path(__file__).parents[2]
OURS = {"rehearsal", *QUEUES, "flower"}
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
        return node

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


def test_what_must_be_given_is_asked_for() -> None:
    with pytest.raises(KeyError, match="FLOWER_PASSWORD"):
        compose({})
    without = compose({"FLOWER_PASSWORD": "x"})["services"]
    assert without["bulk"]["environment"]["HEADRACE_REDIS_URL"] == "redis://valkey:6379/0"
    assert without["valkey"]["command"][-2:] == ["--requirepass", ""]
    within = compose({"FLOWER_PASSWORD": "x", "VALKEY_PASSWORD": "y"})["services"]
    assert within["bulk"]["environment"]["HEADRACE_REDIS_URL"] == "redis://:y@valkey:6379/0"


def test_every_variable_exists(services: dict[str, Any]) -> None:
    known = {variable(name) for name in Settings.__struct_fields__}
    for name in (*QUEUES, "flower"):
        environment = services[name]["environment"]
        assert {each for each in environment if each.startswith("HEADRACE_")} <= known
        Settings.load(environment)


def test_nothing_is_lost_when_it_stops_or_starts_again(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert service["restart"] == "unless-stopped", name
        assert service["healthcheck"]["test"], name
    for role in QUEUES:
        worker = services[role]
        drain_s = Settings.load(worker["environment"]).drain_s
        assert seconds(worker["stop_grace_period"]) >= drain_s + HAND_BACK_S
        assert worker["depends_on"]["valkey"]["condition"] == "service_healthy"
        assert worker["volumes"] == services[QUEUES[0]]["volumes"], "one file store for all"
    command = shlex.join(services["valkey"]["command"])
    assert "--appendonly yes" in command
    assert "--maxmemory-policy noeviction" in command
    assert services["valkey"]["volumes"] == ["valkey:/data"]
    kept = compose(PASSWORDS)["volumes"]
    assert {each.split(":")[0] for service in services.values() for each in service.get("volumes", [])} == set(kept)


def test_only_flower_is_published_and_only_here(services: dict[str, Any]) -> None:
    assert {name: each["ports"] for name, each in services.items() if "ports" in each} == {
        "flower": ["127.0.0.1:8401:8401"]
    }
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
            r"^\s*(\w*(?:KEY|PASSWORD|BASIC_AUTH|REDISCLI_AUTH|SECRET)\w*): (.*)$", text, re.M
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
        self.ports = {port: str(free_port()) for port in ("6379", "8401", "8402")}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.bin = folder / "bin"
        for each in ("bin", "tmp", "volumes"):
            (folder / each).mkdir()
        (self.bin / "valkey-server").symlink_to(bundled_binary())
        (self.bin / "valkey-cli").symlink_to(Path(sys.executable).parent / "redis-cli")

    def moved(self, service: dict[str, Any], text: str) -> str:
        places = {"valkey:6379": f"127.0.0.1:{self.ports['6379']}", "rehearsal:8402": f"127.0.0.1:{self.ports['8402']}"}
        places |= {"0.0.0.0": "127.0.0.1", "/tmp/": f"{self.folder}/tmp/", **self.ports}
        for volume in service.get("volumes", []):
            name, _, path = volume.partition(":")
            places[path] = str(self.folder / "volumes" / name)
            (self.folder / "volumes" / name).mkdir(exist_ok=True)
        return re.sub("|".join(map(re.escape, places)), lambda found: places[found[0]], text)

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
        if name == "valkey":  # there it is alone on its network, here it is not
            command += ["--bind", "127.0.0.1"]
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


def test_a_worker_that_hangs_is_not_healthy(here: Here) -> None:
    here.processes["quarantine"].send_signal(signal.SIGSTOP)
    assert not here.is_healthy("quarantine")
    here.processes["quarantine"].send_signal(signal.SIGCONT)
    until(lambda: here.is_healthy("quarantine"), what="it is healthy again")


def test_every_service_stops_in_order_within_its_time(here: Here) -> None:
    for name in ("flower", *QUEUES, "rehearsal", "valkey"):
        assert here.stop(name) == 0, here.log(name)
