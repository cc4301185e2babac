"""A server whose parent is gone is ended before another one starts on its folder; nobody else is ended in its place."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from stack import alive, until

from headrace.local.valkey import EmbeddedServer


def test_an_orphan_is_ended(tmp_path: Path) -> None:
    first, second = EmbeddedServer(tmp_path / "valkey"), EmbeddedServer(tmp_path / "valkey")
    first.start()
    orphan = first.pid
    assert orphan is not None
    assert first._lock is not None
    os.close(first._lock)  # as when its parent was killed, where the kernel sends no signal for that
    first._lock = None
    try:
        second.start()
        until(lambda: not alive(orphan), what="the orphan has ended", seconds=10)
        assert second.pid != orphan
    finally:
        second.stop()
        first.stop()


@pytest.mark.parametrize("arguments", [["{folder}"], ["--unixsocket", "--dir", "{folder}"], []])
def test_another_process_under_its_number_is_left_alone(tmp_path: Path, arguments: list[str]) -> None:
    folder = tmp_path / "valkey"
    folder.mkdir(mode=0o700)
    command = [sys.executable, "-c", "import time; time.sleep(60)", *(each.format(folder=folder) for each in arguments)]
    innocent = subprocess.Popen(command, cwd=tmp_path)
    (folder / "valkey.pid").write_text(str(innocent.pid))
    server = EmbeddedServer(folder)
    try:
        server.start()
        assert innocent.poll() is None
    finally:
        server.stop()
        innocent.send_signal(signal.SIGKILL)
        innocent.wait()


@pytest.mark.parametrize("text", ["0", "-1", "1", "", "many"])
def test_a_number_that_is_none_is_passed_over(tmp_path: Path, text: str) -> None:
    folder = tmp_path / "valkey"
    folder.mkdir(mode=0o700)
    (folder / "valkey.pid").write_text(text)
    server = EmbeddedServer(folder)
    server.start()
    server.stop()
