"""The built wheel in an environment of its own: what a user imports is there, and a type checker knows what it is."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

import headrace

ROOT = Path(__file__).parents[2]
PACKAGES = ("headrace", "headrace_providers", "headrace_worker", "headrace_api", "headrace_rehearsal")
USERS_FILE = """
from typing import assert_type
import msgspec
from headrace import AsyncHeadrace, Batch, Headrace, InputError, JobFailed, Row, Unreachable, __version__
from headrace_providers import OpenAIChatCompletion

class Review(msgspec.Struct):
    stars: int

def ask(client: Headrace) -> None:
    try:
        batch = client.extract(["text"], model="openai/m", schema=Review)
    except (InputError, Unreachable) as error:
        assert_type(str(error), str)
        return
    assert_type(batch.wait(), Batch)
    for row in batch.results():
        assert_type(row, Row[Review])
        assert_type(row.value.stars, int)
    try:
        assert_type(client.submit("openai/m", "x").result(), str)
    except JobFailed as failed:
        assert_type(failed.failure.code, str)
    client.submit("openai/m", "x", temprature=0)  # pyright: ignore[reportCallIssue]

assert_type(__version__, str)
OpenAIChatCompletion("m")
"""


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"
    name = run(sys.executable, "-c", build, folder, cwd=ROOT).split()[-1]
    return folder / name


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter that has the wheel, and beside it what it depends on."""
    folder = tmp_path_factory.mktemp("user") / "env"
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder.parent)
    python = folder / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel, cwd=folder.parent)
    (site,) = folder.glob("lib/python*/site-packages")
    # A path in a .pth file is looked into, and the .pth files that lie there are not: the editable install is no part of it.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def test_every_package_says_that_it_is_typed(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"{package}/py.typed" for package in PACKAGES} <= names


def test_a_type_checker_knows_what_a_user_gets(environment: Path) -> None:
    folder = environment.parents[2]
    (folder / "users.py").write_text(USERS_FILE)
    run(sys.executable, "-m", "basedpyright", "--pythonpath", environment, "--level", "error", "users.py", cwd=folder)


def test_installed_package_exports_its_public_names(environment: Path) -> None:
    code = "import headrace; from headrace import *; print(headrace.__file__, headrace.__version__, *headrace.__all__)"
    file, version, *names = run(environment, "-c", code, cwd=environment.parents[2]).split()
    assert Path(file).is_relative_to(environment.parents[1])
    assert version == headrace.__version__
    assert {"Headrace", "HeadraceError", "JobFailed", "InputError"} <= set(names)


def test_a_provider_class_needs_no_queue(environment: Path) -> None:
    code = "import sys, headrace_providers; print({'celery', 'kombu', 'redis'} & set(sys.modules))"
    assert run(environment, "-c", code, cwd=environment.parents[2]).strip() == "set()"


def test_the_former_place_of_the_provider_classes_warns(environment: Path) -> None:
    code = "from headrace_worker.providers import OpenAIChatCompletion as one; import headrace_providers as two; "
    code += "print(one is two.OpenAIChatCompletion)"
    assert run(environment, "-c", code, cwd=environment.parents[2]).strip() == "True"
    command = [str(environment), "-W", "error::DeprecationWarning", "-c", code]
    failed = subprocess.run(command, cwd=environment.parents[2], capture_output=True, text=True, check=False)
    assert "from headrace_providers import OpenAIChatCompletion" in failed.stderr
