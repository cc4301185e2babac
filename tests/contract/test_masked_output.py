"""No command of the command line shows a secret of an address or a variable, whatever is wrong with it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from headrace.chat.provider_table import PROVIDERS

SECRET = "hunter2-very-secret"


@pytest.mark.parametrize("name", sorted({row.base_url_variable for row in PROVIDERS.values() if row.base_url_variable}))
def test_no_command_shows_a_secret_of_a_variable(name: str, tmp_path: Path) -> None:
    environment = {
        "PATH": "/usr/bin:/bin",
        name: f"http://user:{SECRET}@127.0.0.1:1/v1?api_key={SECRET}",
        "HEADRACE_REDIS_URL": f"redis://:{SECRET}@127.0.0.1:1/0",
        "HEADRACE_STREAM_SECRET": SECRET,
        **{row.key_variable: SECRET for row in PROVIDERS.values() if row.key_variable},
    }
    for command in (
        ["doctor"],
        ["doctor", "--json"],
        ["run", "x", "--model", "openai/m"],
        ["up"],
        ["jobs", "list"],
        ["version"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "headrace", *command], env=environment, cwd=tmp_path, capture_output=True, timeout=60
        )
        said = (done.stdout + done.stderr).decode()
        assert SECRET not in said, command
        assert "Traceback" not in said, command


ODD_URLS = ["redis://:{}@[", "redis://:{}@127.0.0.1:x/0", "http://u:{}@h", "redis://:{}@127.0.0.1:1?db=x&password={}"]


@pytest.mark.parametrize("url", ODD_URLS)
def test_no_command_shows_a_secret_of_an_address_that_is_none(url: str, tmp_path: Path) -> None:
    environment = {"PATH": "/usr/bin:/bin", "HEADRACE_REDIS_URL": url.format(SECRET, SECRET)}
    for command in (
        ["jobs", "list"],
        ["worker", "bulk"],
        ["gateway", "--port", "0"],
        ["up", "--port", "0"],
        ["doctor"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "headrace", *command], env=environment, cwd=tmp_path, capture_output=True, timeout=60
        )
        said = (done.stdout + done.stderr).decode()
        assert done.returncode in (1, 2, 3), command
        assert SECRET not in said, command
        assert "Traceback" not in said, command
