"""A file that is no UTF-8 is named, whoever reads it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headrace.chat.provider_table import providers
from headrace.cli.params import given_schema, given_tools
from headrace.errors import HeadraceError
from headrace.guards.service_address import READY_FILE, read_ready

READERS: dict[str, Callable[[Path], Any]] = {
    "schema": lambda path: given_schema(str(path)),
    "tools": lambda path: given_tools(str(path)),
    "providers": lambda path: providers({"HEADRACE_PROVIDERS": str(path)}),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("text", [b'{"const": "\xff"}', b'{"\xff": {}}', b"\xff"], ids=["value", "name", "all"])
def test_a_file_that_is_no_utf_8_is_named(tmp_path: Path, reader: str, text: bytes) -> None:
    path = tmp_path / "odd.json"
    path.write_bytes(text)
    path.chmod(0o600)
    with pytest.raises(HeadraceError, match=r"odd\.json"):
        READERS[reader](path)


def test_the_address_of_a_service_that_is_no_text_is_that_of_none(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    (tmp_path / READY_FILE).write_bytes(b'{"pid": %d, "redis": "\xff"}' % os.getpid())
    (tmp_path / READY_FILE).chmod(0o600)
    assert read_ready(tmp_path) is None
