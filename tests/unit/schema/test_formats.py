"""Formats in the wording of every draft, and in both readings."""

# ruff: noqa: E501 (tables read better in one line a row)

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from pydantic import BaseModel

from headrace.errors import InvalidOutput
from headrace.schema import lower
from headrace.schema.lowering import Reading

WORDINGS: dict[str, dict[str, Any]] = {
    "unnamed": {},
    "definitions": {"definitions": {}},
    "draft 4": {"$schema": "http://json-schema.org/draft-04/schema#"},
    "draft 6": {"$schema": "http://json-schema.org/draft-06/schema#"},
    "draft 7": {"$schema": "http://json-schema.org/draft-07/schema#"},
    "2019-09": {"$schema": "https://json-schema.org/draft/2019-09/schema"},
    "2020-12": {"$schema": "https://json-schema.org/draft/2020-12/schema"},
}
ASSERTING = [name for name in WORDINGS if not name.startswith("20")]
"""To the letter, the later drafts only annotate."""
FORMATS = {
    "uuid": (["12345678-1234-1234-1234-123456789abc"], ["no", "12345678123412341234123456789abc"]),
    "date": (["2026-01-02"], ["2026-02-30", "2026-W01-1", "20260102", "2026-1-2"]),
    "email": (["a@b.c"], ["no"]),
    "ipv4": (["1.2.3.4"], ["1.2.3"]),
    "uri-reference": (["a/b"], ["a b"]),
    "json-pointer": (["/a"], ["a"]),
    "date-time": (
        ["2026-01-02T03:04:05Z", "2026-01-02t03:04:05z", "2026-01-02T03:04:05.123456789+02:00", "2016-12-31T23:59:60Z", "2016-12-31T15:59:60-08:00"],
        ["2026-01-02x03:04:05Z", "2026-W01-1T00:00:00Z", "2026-01-02 03:04:05Z", "2026-01-02T03:04:05+0200", "2026-01-02T03:04Z", "20260102T030405Z", "2026-01-02T03:04:05,5Z", "2026-01-02T24:00:00Z", "2026-02-30T00:00:00Z", "2026-01-02T03:04:05+25:00", "2016-12-31T12:00:60Z", "2026-01-02", "٢026-01-02T03:04:05Z"],
    ),
    "time": (["03:04:05Z", "03:04:05z", "03:04:05.5-01:00", "23:59:60Z"], ["03:04", "03:04:05+0200", "24:00:00Z", "3:4:5Z"]),
    "duration": (["P1D", "PT5M", "P1Y2M3DT4H5M6S"], ["P", "PT", "1D", "P1S"]),
}  # fmt: skip
MEANT_ONLY = {
    "date-time": ["2026-01-02T03:04:05", "2026-01-02T03:04:05.5"],
    "time": ["03:04:05", "03:04:05.25"],
    "duration": ["PT0.5S", "-P1D", "P1W2D"],
}


def fits(wording: str, name: str, value: str, reading: Reading) -> bool:
    inner = {"type": "string", "format": name}
    schema = {**WORDINGS[wording], "type": "object", "properties": {"a": inner}, "required": ["a"]}
    try:
        lower(schema, reading=reading).validate({"a": value})
    except InvalidOutput:
        return False
    return True


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("wording", WORDINGS)
def test_a_format_is_checked_in_every_wording(wording: str, name: str) -> None:
    good, bad = FORMATS[name]
    readings: list[Reading] = ["intended", *(["literal"] if wording in ASSERTING else [])]  # type: ignore[list-item]
    for reading in readings:
        assert [each for each in good if not fits(wording, name, each, reading)] == []
        assert [each for each in bad if fits(wording, name, each, reading)] == []


@pytest.mark.parametrize("name", MEANT_ONLY)
@pytest.mark.parametrize("wording", WORDINGS)
def test_only_as_it_is_meant_an_offset_may_be_missing(wording: str, name: str) -> None:
    for each in MEANT_ONLY[name]:
        assert fits(wording, name, each, "intended"), each
        assert fits(wording, name, each, "literal") is (wording not in ASSERTING), each


class When(BaseModel):
    at: datetime | None = None
    either: datetime | int = 0


class Moment(msgspec.Struct):
    at: datetime | None = None
    either: datetime | int = 0


@pytest.mark.parametrize("kind", [When, Moment])
@pytest.mark.parametrize("at", [datetime(2026, 1, 2, 3, 4, 5), datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)])  # noqa: DTZ001
def test_a_time_without_zone_may_be_one_of_several(kind: Any, at: datetime) -> None:
    lowered = lower(kind)
    value = kind(at=at, either=at)
    lowered.validate(value)
    assert lowered.restore(msgspec.json.encode(lowered.lift(value))) == value
