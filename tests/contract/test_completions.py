"""What a shell completes: the script of `headrace completion` in a real bash, with the ids that the service knows."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from stack import Stack, headrace

SCRIPT = """
eval "$(headrace completion bash)"
COMP_WORDS=({words} "$LAST"); COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
_headrace_completion headrace "$LAST"
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def completed(stack: Stack, words: str, last: str, **environment: str) -> list[str]:
    """Return what bash offers for `last` after `words`."""
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    env = {**stack.client_environment, **environment, "PATH": path, "LAST": last}
    script = SCRIPT.format(words=words)
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, timeout=60, check=False, env=env, cwd=stack.folder
    )
    assert done.stderr == ""
    return done.stdout.split()


@pytest.fixture(scope="module")
def batch(stack: Stack) -> str:
    return stack.extract([{"text": "One."}])


@pytest.fixture(scope="module")
def job(stack: Stack) -> str:
    return stack.run("run", "Why?", "--model", "rehearsal/small", "--detach").stdout.strip()


pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")


@pytest.mark.parametrize("words", ["headrace watch", "headrace batches show", "headrace files list"])
def test_ids_of_batches(stack: Stack, batch: str, words: str) -> None:
    assert batch in completed(stack, words, batch[:10])
    assert completed(stack, words, "batch_-") == []


@pytest.mark.parametrize("words", ["headrace watch", "headrace jobs show", "headrace jobs retry"])
def test_ids_of_jobs(stack: Stack, job: str, words: str) -> None:
    assert job in completed(stack, words, job[:8])


def test_watch_completes_both_kinds(stack: Stack, job: str, batch: str) -> None:
    assert {job, batch} <= set(completed(stack, "headrace watch", ""))


def test_models_are_those_of_the_price_catalogue_and_aliases(stack: Stack) -> None:
    aliases = {"HEADRACE_MODELS": '{"quick": ["openai/gpt-5-mini"]}'}
    nowhere = aliases | {"HEADRACE_REDIS_URL": "redis://127.0.0.1:1/0"}
    assert completed(stack, "headrace run Why --model", "qui", **nowhere) == ["quick"]
    assert "openai/gpt-5-mini" in completed(stack, "headrace extract in.csv --model", "openai/gpt-5-m", **nowhere)


def test_without_a_service_there_are_no_ids_and_no_error(stack: Stack) -> None:
    assert completed(stack, "headrace watch", "", HEADRACE_REDIS_URL="redis://127.0.0.1:1/0") == []


def test_commands_that_are_misspelt_are_suggested() -> None:
    for words, meant in ((["extrct"], "extract"), (["batches", "shw"], "show"), (["run", "--modle", "x"], "--model")):
        done = headrace(*words)
        assert done.returncode == 2
        assert "Did you mean" in done.stderr
        assert meant in done.stderr
