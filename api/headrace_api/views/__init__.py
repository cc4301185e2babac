"""Views: an event log in a client's wire format. Each is a pure reducer: fed from an attempt's start, it always returns the
same frames, so that a viewer can resume after the last frame it saw.

`native` is the log itself; `openai`, `ui-message-stream` and `ag-ui` are for existing clients.
"""

from __future__ import annotations

from headrace.errors import InputError
from headrace_api.views.ag_ui import AgUi
from headrace_api.views.native import Native
from headrace_api.views.openai import OpenAI
from headrace_api.views.replay import Replay
from headrace_api.views.ui_message import UiMessage
from headrace_api.views.view import Cursor, Frame, Subject, View

VIEWS: dict[str, type[View]] = {view.name: view for view in (Native, OpenAI, UiMessage, AgUi)}

__all__ = ["VIEWS", "Cursor", "Frame", "Replay", "Subject", "View", "view_named"]


def view_named(name: str | None) -> type[View]:
    """Return the view of that name, `native` for none. Raises `InputError`."""
    found = VIEWS.get(name or "native")
    if found is None:
        raise InputError(f"view {name!r:.60}: must be one of {', '.join(VIEWS)}")
    return found
