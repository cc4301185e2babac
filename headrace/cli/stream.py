"""A job's answer on a terminal as it comes: the text on standard output, everything else on standard error."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from headrace.fold import Fold
    from headrace.handles import AsyncJobHandle
    from headrace.stream import AsyncJobStream


async def show_stream(job: AsyncJobHandle[Any], *, as_json: bool = False) -> None:
    """Print the events until the end; `as_json` prints each as a line of JSON. Raises `JobFailed`."""
    from headrace.errors import JobFailed
    from headrace.stream import failure_of

    stream = job.stream()
    shown = Lines() if as_json else Text(stream)
    async for event in stream:
        shown.update(event)
    shown.close(stream.fold)
    end = stream.fold.end or {"status": "dead"}
    if end["status"] != "succeeded":
        raise JobFailed(job.id, failure_of(end, ""))


class Lines:
    """Every event, as a line of JSON."""

    def update(self, event: dict[str, Any]) -> None:
        import msgspec

        click.echo(msgspec.json.encode(event))  # which flushes, and knows what to do where there is no output

    def close(self, fold: Fold) -> None:
        pass


class Text:
    """The text of the first choice. Reasoning is dim; attempts, fallbacks and waits are said."""

    def __init__(self, stream: AsyncJobStream):
        self._stream = stream
        self._open: Any = None  # the stream whose last line has no end yet
        self._given = 0

    def update(self, event: dict[str, Any]) -> None:
        kind = event["t"]
        if kind == "attempt.start" and event.get("reset"):
            self._say(f"attempt {event['n']} ({event['reason']}): the answer begins anew")
            self._given = 0
        elif kind == "attempt.route":
            if event["cached"]:
                self._say("answered from the cache")
            elif self._stream.fold.attempt.get("reset"):
                self._say(f"asking {event['deployment']} for {event['model']}")
        elif kind == "status":
            self._say(f"{event['phase']}: {event['detail']}")
        elif kind == "snapshot":
            said = self._stream.fold.message["content"] or ""
            self._text(said[self._given :])
        elif event.get("c", 0) == 0 and kind in ("text.delta", "refusal.delta"):
            self._text(event["d"])
        elif event.get("c", 0) == 0 and kind == "reasoning.delta":
            self._switch(sys.stderr)
            click.secho(event["d"], dim=True, nl=False, err=True)

    def close(self, fold: Fold) -> None:
        import msgspec

        self._switch(None)
        for call in fold.message.get("tool_calls", ()):
            click.echo(msgspec.json.encode(call))

    def _text(self, text: str) -> None:
        if text:
            self._switch(sys.stdout)
            self._given += len(text)
            click.echo(text, nl=False)

    def _say(self, text: str) -> None:
        self._switch(None)
        click.echo(text, err=True)

    def _switch(self, to: Any) -> None:
        """End the line that is open elsewhere."""
        if self._open is not None and self._open is not to:
            click.echo(err=self._open is sys.stderr)
        self._open = to
