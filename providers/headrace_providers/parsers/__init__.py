"""Parsers of answers that are not JSON, by the name that a call asks for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from headrace_providers.parsers import typed_xml

PARSERS: dict[str, Callable[[str], Any]] = {"typed_xml": typed_xml.decode}
