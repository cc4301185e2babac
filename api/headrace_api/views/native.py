"""The native view: the events as they are in the log, under their own ids."""

from __future__ import annotations

from typing import Any

from headrace.events.ids import EventId
from headrace_api.views.view import View, encode


class Native(View):
    name = "native"

    def add(self, id: EventId, event: dict[str, Any]) -> list[bytes]:
        self.closed = event["t"] == "end"
        return [encode(event)]

    def superseded(self) -> list[bytes]:
        return []

    def interrupted(self, why: str) -> list[bytes]:
        return [encode({"t": "bye", "reason": why, "reconnect_ms": 500})]
