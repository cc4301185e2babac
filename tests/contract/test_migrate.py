"""The snippets of docs/migrate.md: each a program of its client, unmodified but for the gateway's address."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from clients_of_python import client_python
from gateways import another_gateway
from stack import Stack

ROOT = Path(__file__).parents[2]
JS = Path(__file__).parent / "js"
BLOCK = re.compile(r"^```(python|js)\n(.*?)^```", re.M | re.S)
MODELS = '{"gpt-5-mini": "rehearsal/small"}'


def snippets() -> list[tuple[str, str, str]]:
    """The title, the language and the text of each."""
    found = []
    for section in (ROOT / "docs/migrate.md").read_text().split("\n## ")[1:]:
        title = section.partition("\n")[0]
        found += [(f"{title} {n}", *block) for n, block in enumerate(BLOCK.findall(section), 1)]
    return found


@pytest.fixture(scope="module")
def gateway(stack: Stack) -> Iterator[str]:
    with another_gateway(stack, "migrate", HEADRACE_MODELS=MODELS) as (base, _):
        yield base


def interpreter(text: str) -> str:
    """What runs a Python snippet: this environment, or that of other projects' clients where its first line names one."""
    return client_python() if text.startswith("# ") else sys.executable


@pytest.mark.parametrize(("language", "text"), [each[1:] for each in snippets()], ids=[each[0] for each in snippets()])
def test_a_snippet_runs(gateway: str, tmp_path: Path, language: str, text: str) -> None:
    text = text.replace("http://127.0.0.1:8400", gateway)
    assert gateway in text
    if language == "js":
        if not shutil.which("node") or not (JS / "node_modules/@ai-sdk/openai").is_dir():
            pytest.skip("the npm clients are not installed: `make js`")
        (tmp_path / "node_modules").symlink_to(JS / "node_modules")
        program = tmp_path / "snippet.mjs"
        command = ["node", str(program)]
    else:
        program = tmp_path / "snippet.py"
        command = [interpreter(text), str(program)]
    program.write_text(text)
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path, check=False)
    assert run.returncode == 0, run.stderr[-3000:]
    assert run.stdout.strip(), run.stderr[-3000:]


def test_every_client_has_its_snippet() -> None:
    titles = {title.rpartition(" ")[0] for title, _, _ in snippets()}
    assert titles == {
        *("openai for Python", "openai for Node", "AI SDK", "Pydantic AI", "OpenAI Agents SDK", "LangChain", "LiteLLM"),
    }
