"""Server-sent events as providers write them: the standard's, and what real servers make of it.

A byte order mark is skipped. A JSON body where events were promised is one event, JSON lines are one each. A last event counts
though the empty line after it is missing. https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

from typing import NamedTuple

from headrace.text.readable import is_json

BOM = b"\xef\xbb\xbf"
DONE = b"[DONE]"


class ServerSentEvent(NamedTuple):
    """An event's name and data. `cut`: the body ended within it."""

    name: bytes
    data: bytes
    cut: bool = False


class EventDecoder:
    """Feed it the body piece by piece, cut anywhere; then `finish`. Comments, ids and retry times are no events."""

    def __init__(self) -> None:
        self._start: bytes | None = b""  # what has come while it is not known yet what kind of body it is
        self._json: list[bytes] | None = None
        self._line: list[bytes] = []
        self._after_cr = False
        self._name = b""
        self._data: list[bytes] = []

    def feed(self, piece: bytes) -> list[ServerSentEvent]:
        if self._start is not None:
            self._start += piece
            if BOM.startswith(self._start):
                return []
            piece = self._start.removeprefix(BOM)
            text = piece.lstrip()
            if not text and len(piece) < 1024:
                return []
            self._start = None
            if text[:1] in (b"{", b"["):
                self._json = []
        if self._json is not None:
            self._json.append(piece)
            return []
        return self._lines_of(piece)

    def finish(self) -> list[ServerSentEvent]:
        """Return what is left at the end of the body."""
        if self._json is not None:
            return json_events(b"".join(self._json))
        events = self._lines_of((self._start or b"").removeprefix(BOM))
        self._start = b""
        line = b"".join(self._line)
        if line:
            events += self._take([line])
        last = self._dispatch()
        return events + [ServerSentEvent(each.name, each.data, cut=True) for each in last]

    def _lines_of(self, piece: bytes) -> list[ServerSentEvent]:
        if self._after_cr and piece:
            piece, self._after_cr = piece.removeprefix(b"\n"), False
        if b"\r" in piece:
            self._after_cr = piece.endswith(b"\r")
            piece = piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        if b"\n" not in piece:
            if piece:
                self._line.append(piece)
            return []
        lines = piece.split(b"\n")
        if self._line:
            lines[0] = b"".join((*self._line, lines[0]))
        last = lines.pop()
        self._line = [last] if last else []
        return self._take(lines)

    def _take(self, lines: list[bytes]) -> list[ServerSentEvent]:
        events: list[ServerSentEvent] = []
        for line in lines:
            if not line:
                if self._data:
                    events += self._dispatch()
                self._name = b""
            elif line.startswith(b"data:"):
                if len(self._data) == 1 and (self._data[0].startswith(DONE) or is_json(self._data[0])):
                    events += self._dispatch()  # a server that leaves out the empty line between two events
                self._data.append(line[6:] if line[5:6] == b" " else line[5:])
            elif line.startswith(b"event:"):
                self._name = line[6:].strip()
            elif line.startswith(b"{") and is_json(line):
                events.append(
                    ServerSentEvent(self._name, line)
                )  # servers write an error of theirs so, in the middle of a stream
        return events

    def _dispatch(self) -> list[ServerSentEvent]:
        data, self._data = self._data, []
        whole = b"\n".join(data)
        if len(data) > 1 and not is_json(whole):
            return [ServerSentEvent(self._name, each) for each in data if each]
        return [ServerSentEvent(self._name, whole)] if whole else []


def json_events(body: bytes) -> list[ServerSentEvent]:
    """Return the events of JSON without SSE framing: a JSON body is one event, JSON lines are one each."""
    if not is_json(body):
        lines = [line for line in body.splitlines() if line.strip()]
        if len(lines) > 1 and is_json(lines[0]):
            return [ServerSentEvent(b"", line, cut=line is lines[-1]) for line in lines]
    return [ServerSentEvent(b"", body)]
