"""The native view: the events as they are in the log, under their own ids."""

from __future__ import annotations

from headrace_api.streaming.notices import Bye
from headrace_api.views.view import View, encode


class Native(View):
    name = "native"
    verbatim = True
    knows_notices = True

    def superseded(self) -> list[bytes]:
        return []

    def interrupted(self, why: str) -> list[bytes]:
        return [encode(Bye(why))]
