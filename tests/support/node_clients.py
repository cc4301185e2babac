"""Programs for Node that use clients of npm, unmodified."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from stack import until

JS = Path(__file__).parents[1] / "contract" / "js"


def installed() -> Path:
    """The folder of the programs; a test is skipped where Node or the clients are missing."""
    if shutil.which("node") is None:
        pytest.skip("no node here: install Node 20, and the clients of npm are tested")
    if not (JS / "node_modules" / "ai").is_dir():
        pytest.skip("the clients of npm are not installed: `make js`")
    return JS


class Node:
    """A program of js/ that runs; `word` waits for a line on its stderr."""

    def __init__(self, folder: Path, program: str, *arguments: str):
        command = ["node", str(folder / program), *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.said: list[str] = []
        self._reading = threading.Thread(target=self._read)
        self._reading.start()

    def _read(self) -> None:
        assert self.process.stderr
        self.said.extend(self.process.stderr)

    def word(self, word: str) -> None:
        until(lambda: f"{word}\n" in self.said or self.process.poll() is not None, what=word)

    def result(self) -> Any:
        assert self.process.stdout
        assert self.process.stderr
        try:
            out = self.process.stdout.read()
            code = self.process.wait(60)
        finally:
            self.process.kill()
            self._reading.join(10)
            self.process.stdout.close()
            self.process.stderr.close()
        assert code == 0, self.said
        return json.loads(out)
