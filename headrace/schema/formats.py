"""Validators of `format`: RFC 3339 for dates and times, in every draft.

In a `literal` reading a time needs an offset. In an `intended` one it may lack it, and a duration may have a sign and a
fraction: that is what Python and others write.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache, partial

import jsonschema_rs

Check = Callable[[str], bool]
BACKPORTED_FORMATS = {
    "draft 4": (
        "duration", "idn-hostname", "uri-reference", "iri", "iri-reference", "uuid", "uri-template", "json-pointer",
        "relative-json-pointer",
    ),
    "draft 6": ("duration", "idn-hostname", "iri", "iri-reference", "uuid", "relative-json-pointer"),
    "draft 7": ("duration", "uuid"),
}  # fmt: skip
"""Formats that are newer than a draft and are validated in it all the same."""
DURATION = re.compile(r"-?P(?!$)(\d+Y)?(\d+M)?(\d+W)?(\d+D)?(T(?=\d)(\d+H)?(\d+M)?(\d+(\.\d+)?S)?)?", re.ASCII)


@lru_cache
def strict(name: str) -> Check:
    """Return the validator of the format `name` of 2020-12."""
    return jsonschema_rs.Draft202012Validator({"format": name}, validate_formats=True).is_valid


def with_or_without_offset(name: str, text: str) -> bool:
    return strict(name)(text) or strict(name)(f"{text}Z")


LENIENT_FORMATS: dict[str, Check] = {
    "date-time": partial(with_or_without_offset, "date-time"),
    "time": partial(with_or_without_offset, "time"),
    "duration": lambda text: DURATION.fullmatch(text) is not None,
}


def formats_of(draft: str, *, meant: bool) -> dict[str, Check]:
    """Return the format validators that are added to those of a draft."""
    return {name: strict(name) for name in BACKPORTED_FORMATS.get(draft, ())} | (LENIENT_FORMATS if meant else {})
