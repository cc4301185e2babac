"""A viewer sees the whole stream, in order, once: joining late, resuming, or reading it again.

A viewer is a cursor, not a queue: the id of the last event that it has. Over HTTP it is the header `Last-Event-ID`, which
browsers send by themselves. The event log keeps everything, so a viewer that leaves stops nothing, and one that comes back
goes on where it was. In the end the text on the screen is the stored answer.
"""

from __future__ import annotations

from gateways import SLOW, Sse, result, submit, text_of
from stack import Stack


def test_a_stream_cut_again_and_again_is_seen_whole_and_once(stack: Stack) -> None:
    base = stack.ready["gateway"]
    job = submit(base, SLOW)
    whole: list[tuple[str | None, str]] = []
    last: dict[str, str] = {}
    for cut in (1, 2, 7, 3, 11, 10_000):
        with Sse(f"{base}/v1/jobs/{job}/events", **last) as stream:
            for event in stream.events():
                whole.append(event)
                cut -= 1
                if not cut:
                    break
        last = {"last_event_id": str(whole[-1][0])}
    assert text_of(whole) == result(base, job)["completion"]["content"]
    assert len(stack.calls_of(job)) == 1

    # Whoever comes after the end sees the same events under the same ids.
    assert Sse(f"{base}/v1/jobs/{job}/events").all() == whole
