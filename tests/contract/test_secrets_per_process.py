"""A gateway and a worker that are started by themselves: the secret in its file, and no secret of another's."""

from __future__ import annotations

import contextlib
import os
import re
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from stack import headrace, started, until

from headrace.guards.ownership import kept_secret
from headrace.jobs.job import new_id
from headrace.local.valkey import EmbeddedServer

NOBODY = 65534
SECRETS = {
    "OPENAI_API_KEY": "sk-planted-0123456789",
    "MY_TOKEN": "planted-token-0123456789",
    "HEADRACE_PROVIDERS": '{"mine": {"base_url": "http://127.0.0.1:9/v1", "headers": {"X-A": "planted-header-0123"}}}',
    "HEADRACE_STREAM_SECRET": "planted-signing-secret-0123",
    "FLOWER_BASIC_AUTH": "me:planted-password-0123",
}


def token(file: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    unset = {"HEADRACE_STREAM_SECRET"}
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    return headrace("gateway", "--token", env={**environment, "HEADRACE_STREAM_SECRET_FILE": str(file), **variables})


def test_the_secret_is_made_once_and_signs_from_then_on(tmp_path: Path) -> None:
    file = tmp_path / "stream.secret"
    done = token(file)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"hr1\.\S+\n", done.stdout)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    made = file.read_text()
    assert token(file).returncode == 0
    assert file.read_text() == made
    assert list(tmp_path.iterdir()) == [file]
    assert made.strip() not in done.stdout + done.stderr


def test_of_many_that_make_it_at_once_all_use_one(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        made = set(pool.map(lambda _: kept_secret(tmp_path / "stream.secret"), range(64)))
    assert len(made) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["stream.secret"]


def readable(file: Path) -> None:
    file.write_text("known-to-everybody-0123\n")
    file.chmod(0o644)


def link(file: Path) -> None:
    file.with_name("other").write_text("0123456789abcdef0123\n")
    file.symlink_to(file.with_name("other"))


def short(file: Path) -> None:
    file.touch(mode=0o600)


def of_another(file: Path) -> None:
    file.write_text("written-by-somebody-0123\n")
    file.chmod(0o600)
    os.chown(file, NOBODY, NOBODY)


@pytest.mark.parametrize(
    ("plant", "word"),
    [
        (readable, "others may know it: remove it"),
        (link, "symbolic link"),
        (short, "no secret of 16 characters"),
        pytest.param(
            of_another, "nobody", marks=pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
        ),
        (lambda file: file.mkdir(), "no regular file"),
    ],
    ids=["readable", "link", "empty", "of another", "folder"],
)
def test_a_secret_that_others_may_know_signs_nothing(tmp_path: Path, plant: Callable[[Path], None], word: str) -> None:
    file = tmp_path / "stream.secret"
    plant(file)
    done = token(file)
    assert done.returncode == 2
    assert word in done.stderr
    assert str(file) in done.stderr
    assert done.stdout == ""


def test_a_file_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    done = token(tmp_path / "none" / "stream.secret")
    assert done.returncode == 2
    assert f"{tmp_path}/none/stream.secret, for a secret: No such file" in done.stderr


@contextlib.contextmanager
def running(folder: Path, url: str, *command: str) -> Iterator[str]:
    """The environment of a process that was started with all the secrets, once it works."""
    ready = folder / "ready.json"
    environment = {**os.environ, **SECRETS, "HEADRACE_REDIS_URL": url, "HEADRACE_FILES": str(folder / "files")}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "headrace", *command, "--ready-file", str(ready)],
            env=environment,
            cwd=folder,
            stdout=log,
            stderr=log,
        )
    try:
        until(lambda: ready.exists() or process.poll() is not None, what="it is ready")
        assert process.poll() is None, (folder / "log").read_text()
        assert stat.S_IMODE(ready.stat().st_mode) == 0o600
        yield Path(f"/proc/{process.pid}/environ").read_text()
    finally:
        process.terminate()
        process.wait(30)


def planted(environment: str) -> set[str]:
    return {name for name, value in SECRETS.items() if f"{name}={value}" in environment}


def test_a_gateway_has_no_key(tmp_path: Path, own_valkey: Callable[..., EmbeddedServer]) -> None:
    with running(tmp_path, own_valkey().url, "gateway", "--port", "0") as environment:
        assert planted(environment) == {"HEADRACE_STREAM_SECRET"}


def test_a_worker_has_keys_and_nothing_of_the_gateway_or_flower(
    tmp_path: Path, own_valkey: Callable[..., EmbeddedServer]
) -> None:
    with running(tmp_path, own_valkey().url, "worker", "bulk") as environment:
        assert planted(environment) == {"OPENAI_API_KEY", "MY_TOKEN", "HEADRACE_PROVIDERS"}


def test_a_gateway_of_up_that_is_closed_takes_tokens_of_its_own_secret(tmp_path: Path) -> None:
    with started(tmp_path, "--no-flower", environment={"HEADRACE_GATEWAY_OPEN": "0"}) as stack:
        minted = token(tmp_path / ".headrace" / "stream.secret")
        assert minted.returncode == 0, minted.stderr
        url = f"{stack.ready['gateway']}/v1/jobs/{new_id('job')}"
        statuses = []
        for headers in ({}, {"Authorization": f"Bearer {minted.stdout.strip()}"}):
            with pytest.raises(urllib.error.HTTPError) as answered:
                urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10)
            statuses.append(answered.value.code)
            answered.value.close()
        assert statuses == [401, 404]
