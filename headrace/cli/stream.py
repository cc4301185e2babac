"""A job's answer on a terminal as it comes: the text on standard output, everything else on standard error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headrace.cli import terminal

if TYPE_CHECKING:
    from headrace.client.event_dict import EventDict
    from headrace.client.handles import AsyncJobHandle
    from headrace.client.stream import AsyncJobStream
    from headrace.events.fold import Fold
    from headrace.events.types import JobEvent


async def show_stream(job: AsyncJobHandle[Any], *, as_json: bool = False) -> None:
    """Print the events until the end; `as_json` prints each as a line of JSON. Raises `JobFailed`."""
    from headrace.client.stream import failure_of
    from headrace.errors import JobFailed
    from headrace.events.types import End

    stream = job.stream()
    shown = LineOutput() if as_json else TextOutput(stream)
    async for event in stream:
        shown.update(event)
    shown.close(stream.fold)
    end = stream.fold.end or End(status="dead")
    if end.status != "succeeded":
        raise JobFailed(job.id, failure_of(end, ""))


class LineOutput:
    """Every event, as a line of JSON."""

    def update(self, event: EventDict[JobEvent]) -> None:
        import msgspec

        terminal.echo(msgspec.json.encode(event))

    def close(self, fold: Fold) -> None:
        pass


class TextOutput:
    """The text of the first choice. Reasoning is dim; attempts, fallbacks and waits are said."""

    def __init__(self, stream: AsyncJobStream):
        self._stream = stream
        self._answer = terminal.Flow()
        self._aside = terminal.Flow(err=True, dim=True)
        self._given = 0

    def update(self, event: EventDict[JobEvent]) -> None:
        from headrace.events import types

        match event.event:
            case types.TextDelta(c=0, d=d) | types.RefusalDelta(c=0, d=d):
                self._text(d)
            case types.ReasoningDelta(c=0, d=d):
                self._end_shown_answer()
                self._aside.add(d)
            case types.AttemptStart(reset=True, n=n, reason=reason):
                self._answer.end()
                self._say(f"attempt {n} ({reason}): the answer begins anew")
                self._given = 0
            case types.AttemptRoute(cached=True):
                self._say("answered from the cache")
            case types.AttemptRoute(deployment=deployment, model=model):
                attempt = self._stream.fold.attempt
                if attempt is not None and attempt.reset:
                    self._say(f"asking {deployment} for {model}")
            case types.Status(phase=phase, detail=detail):
                self._say(f"{phase}: {detail}")
            case types.Snapshot():
                said = self._stream.fold.message["content"] or ""
                self._text(said[self._given :])
            case _:
                pass

    def close(self, fold: Fold) -> None:
        import msgspec

        self._aside.end()
        self._answer.end()
        for call in fold.message.get("tool_calls", ()):
            terminal.echo(msgspec.json.encode(call))

    def _text(self, text: str) -> None:
        if text:
            self._aside.end()
            self._given += len(text)
            self._answer.add(text)

    def _say(self, text: str) -> None:
        self._aside.end()
        self._end_shown_answer()
        terminal.echo(text, err=True)

    def _end_shown_answer(self) -> None:
        """End its line before something else is shown beneath; a file or pipe gets the answer alone."""
        if terminal.is_terminal():
            self._answer.end()
