"""The settings: what each is for is said once, with the field, and characters that no value can have are refused."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from headrace.errors import SettingsError
from headrace.settings import ASCII_ONLY, Settings, meaning, variable

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("field", msgspec.structs.fields(Settings), ids=lambda field: field.name)
def test_every_setting_has_a_meaning_and_a_row_in_the_docs(field: msgspec.structs.FieldInfo) -> None:
    assert meaning(field)
    page = (ROOT / "docs" / "operations.md").read_text()
    rows = re.findall(rf"^\| `{variable(field.name)}` \|[^|]*\| (.*) \|$", page, re.MULTILINE)
    assert rows == [meaning(field)]


def test_a_description_is_not_taken_for_a_type() -> None:
    """Descriptions have words such as "stream" in them, which the name of the type `str` is a part of."""
    assert {"calls", "heartbeat_s", "slow_reader_s", "strict", "gateway_open", "gateway_url"} <= ASCII_ONLY
    assert not {"redis_url", "files", "providers", "stream_secret", "log_level", "namespace"} & ASCII_ONLY


@pytest.mark.parametrize("name", ["calls", "strict", "gateway_url", "slow_reader_s"])
def test_numbers_words_and_origins_are_ascii(name: str) -> None:
    with pytest.raises(SettingsError, match=f"{variable(name)}.*in ASCII"):
        Settings.load({variable(name): "https://exämple"})


def test_words_for_true_and_false() -> None:
    assert Settings.load({"HEADRACE_STRICT": "yes"}).strict
    assert Settings.load({"HEADRACE_GATEWAY_OPEN": "No"}).gateway_open is False
    assert Settings.load({"HEADRACE_GATEWAY_OPEN": ""}).gateway_open is None
    assert Settings.load({"HEADRACE_LOG_LEVEL": "no"}).log_level == "no"
