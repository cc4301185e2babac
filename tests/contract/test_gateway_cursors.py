"""Whatever stands where a cursor is expected: a 400, or a row of the table; nothing else, and never another job's events."""

from __future__ import annotations

import contextlib
import http.client
import json
from typing import Any
from urllib.parse import quote

import pytest
from gateways import SLOW, Sse, another_gateway, ask, result, submit
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stack import Stack, until

Events = list[tuple[str | None, str]]


class Log:
    """One job that has ended: what each view says of it, whole."""

    def __init__(self, base: str, text: str):
        self.url = f"{base}/v1/jobs/{submit(base, text)}"
        until(lambda: ask(self.url).json["status"] == "succeeded", what="it is done")
        self.job = self.url.rpartition("/")[2]
        self.views = {view: Sse(f"{self.url}/events?view={view}").all() for view in ("native", "openai", "ag-ui")}


@pytest.fixture(scope="module")
def logs(stack: Stack) -> tuple[Log, Log]:
    return Log(stack.ready["gateway"], "Mine alone."), Log(stack.ready["gateway"], "Theirs alone.")


def cursors(epoch: int, jobs: list[str]) -> st.SearchStrategy[str]:
    """Anything, and what is nearly a cursor."""
    number = st.one_of(
        st.integers(0, 30),
        st.integers(epoch - 2, epoch + 2),
        st.integers(-(10**20), 10**20),
        st.from_regex(r"\d{0,20}"),
    )
    near = st.builds(
        "{}{}{}{}{}{}".format,
        st.sampled_from(["", "", "", *(f"{job}:" for job in jobs), "job_x:", ":"]),
        number,
        st.sampled_from(["-", "-", "-", "", "--", ".", "\u2212"]),
        number,
        st.sampled_from(["", "", ".", ".0", ".1", ".-1", ".999999999", "-1"]),
        st.sampled_from(["", "", "", " ", "\n", "\x00", "x"]),
    )
    real = st.builds("{}-{}".format, st.integers(epoch - 1, epoch + 1), st.integers(0, 12))
    return st.one_of(st.text(max_size=40), near, real, st.sampled_from(["now", "$", "0", "-1", "Now", "+1"]))


def test_any_cursor(logs: tuple[Log, Log]) -> None:
    mine, theirs = logs
    epoch = int(str(mine.views["native"][0][0]).partition("-")[0])
    host = mine.url.partition("//")[2].partition("/")[0]

    @settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        cursor=cursors(epoch, [mine.job, theirs.job]),
        view=st.sampled_from(["native", "openai", "ag-ui"]),
        header=st.booleans(),
    )
    def check(cursor: str, view: str, header: bool) -> None:
        path = f"/v1/jobs/{mine.job}/events?view={view}"
        if header and cursor.isascii() and cursor.isprintable() and cursor.strip() == cursor:
            status, body = fetched(host, path, {"Last-Event-ID": cursor})
        else:
            status, body = fetched(host, f"{path}&after={quote(cursor, safe='', errors='replace')}", {})
        if status == 400:
            assert json.loads(body)["error"]["code"] == "invalid_request"
        elif status == 200:
            whole = mine.views[view]
            said = events(body)
            superseded = view != "native" and '"superseded"' in str(said)
            assert said, "nothing follows: 204"
            assert superseded or said == whole[len(whole) - len(said) :], "a tail of its own log"
            assert "Theirs" not in str(said)
        else:
            assert status in (204, 410), (status, body)
            assert theirs.job.encode() not in body
        if cursor.startswith(f"{theirs.job}:"):
            assert status == 400

    check()


@pytest.mark.parametrize("view", ["openai", "ag-ui"])
def test_the_last_frame_of_a_view_is_the_end(logs: tuple[Log, Log], view: str) -> None:
    for log in logs:
        *_, (before, _), (last, _) = [event for event in log.views[view] if event[0] is not None]
        assert ask(f"{log.url}/events?view={view}", last_event_id=last).status == 204
        assert [id for id, _ in Sse(f"{log.url}/events?view={view}&after={before}").all()] == [last]


def test_a_cursor_of_an_attempt_that_the_ledger_has_lost(logs: tuple[Log, Log]) -> None:
    log, _ = logs
    for seq, again in ((1, True), (7, False)):
        after = f"999999999999999-{seq}"
        assert Sse(f"{log.url}/events?after={after}").all() == log.views["native"]
        for view in ("openai", "ag-ui"):
            said = Sse(f"{log.url}/events?view={view}&after={after}").all()
            assert said == log.views[view] if again else "superseded" in said[-1][1]


def fetched(host: str, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
    with contextlib.closing(http.client.HTTPConnection(host, timeout=30)) as connection:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read()


def events(body: bytes) -> Events:
    """The blocks of an event stream that say something."""
    found: Events = []
    for block in body.decode().split("\n\n"):
        fields: dict[str, Any] = dict(
            line.split(": ", 1) for line in block.splitlines() if line and not line.startswith(":")
        )
        if "data" in fields:
            found.append((fields.get("id"), fields["data"]))
    return found


def test_the_table_of_cursors(base: str) -> None:
    job = submit(base)
    url = f"{base}/v1/jobs/{job}/events"
    whole = Sse(url).all()
    ids = [id for id, _ in whole]
    epoch = int(str(ids[0]).split("-")[0])
    for start in ("", "0", "-1", "0-0", f"{epoch + 1}-1"):
        assert [id for id, _ in Sse(f"{url}?after={start}").all()] == ids, start
    assert [id for id, _ in Sse(f"{url}?after={ids[0]}").all()] == ids[1:]
    assert [id for id, _ in Sse(f"{url}?after={epoch - 1}-7").all()] == ids, "an older attempt"
    assert [id for id, _ in Sse(f"{url}?after={job}:{ids[0]}").all()] == ids[1:]
    assert [id for id, _ in Sse(f"{url}?after=0", last_event_id=str(ids[1])).all()] == ids[2:], "the header wins"
    assert ask(f"{url}?after={ids[-1]}").status == 204
    assert ask(f"{url}?after=now").status == 204
    for view in ("openai", "ag-ui"):
        frames = Sse(f"{url}?view={view}").all()
        assert [id for id, _ in Sse(f"{url}?view={view}&after={frames[0][0]}").all()] == [id for id, _ in frames[1:]]
    assert len(Sse(f"{url}?view=ui-message-stream&after={ids[-1]}").all()) > 3, "always all of it"


CURSORS = [
    *(
        "x",
        "17",
        "17-",
        "-17",
        "17-4-2",
        "17-4.0",
        "17-4.",
        "17.4",
        "17-4 ",
        "+1-1",
        "1e9-1",
        "١-١",
        "$$",
        "NOW",
        "null",
    ),
    *(
        "%00",
        "%0d%0a",
        "../x",
        "9" * 16 + "-1",
        "1-" + "9" * 40,
        "job_x:17-4",
        "job_" + "z" * 26 + ":17-4",
        "%F0%9F%98%80",
    ),
]


@pytest.mark.parametrize("cursor", CURSORS)
def test_any_other_cursor_is_a_400(base: str, done: str, cursor: str) -> None:
    from urllib.parse import quote

    given = cursor if cursor.startswith("%") else quote(cursor)
    answer = ask(f"{base}/v1/jobs/{done}/events?after={given}")
    assert answer.status == 400, answer.body
    assert answer.json["error"]["code"] == "invalid_request"


@pytest.fixture(scope="module")
def done(stack: Stack) -> str:
    base = stack.ready["gateway"]
    job = submit(base)
    result(base, job)
    return job


def test_a_trimmed_log_is_410_and_never_a_part_of_it(stack: Stack, base: str) -> None:
    job = submit(base, SLOW)
    url = f"{base}/v1/jobs/{job}/events"
    ids = [id for id, _ in Sse(url).all()]
    with stack.client as client:
        client.xtrim(f"{{hr}}:job:{job}:log", minid=ids[10], approximate=False)
    with another_gateway(stack, "fresh") as (fresh, _):  # the first one's room still has them all
        answer = ask(f"{fresh}/v1/jobs/{job}/events?after={ids[2]}")
        assert answer.status == 410, answer.body[:600]
        assert answer.json["error"]["code"] == "gone"
        assert ask(f"{fresh}/v1/jobs/{job}/events?view=openai&after={ids[2]}.0").status == 410
        assert [id for id, _ in Sse(f"{fresh}/v1/jobs/{job}/events?after={ids[12]}").all()] == ids[13:]


@pytest.mark.parametrize("view", ["openai", "ag-ui"])
def test_a_view_that_was_compacted_away_is_410(stack: Stack, base: str, view: str) -> None:
    job = submit(base)
    result(base, job)
    with stack.client as client:
        log = f"{{hr}}:job:{job}:log"
        last, end = client.xrange(log)[-1]  # type: ignore[index]
        epoch, _, seq = last.decode().partition("-")
        snapshot = json.dumps({"t": "snapshot", "upto": int(seq) - 2, "message": {"role": "assistant", "content": "x"}})
        client.delete(log)
        client.xadd(log, {"d": snapshot.replace('": ', '":')}, id=f"{epoch}-{int(seq) - 1}")
        client.xadd(log, end, id=last)
    answer = ask(f"{base}/v1/jobs/{job}/events?view={view}&after={epoch}-2")
    assert (answer.status, answer.json["error"]["code"]) == (410, "gone")
    assert [json.loads(data)["t"] for _, data in Sse(f"{base}/v1/jobs/{job}/events?after={epoch}-2").all()] == [
        "snapshot",
        "end",
    ]


def test_now_says_after_which_event_it_begins(base: str) -> None:
    job = submit(base, SLOW)
    with Sse(f"{base}/v1/jobs/{job}/events") as stream:
        next(event for event in stream.events() if "text.delta" in event[1])
    with Sse(f"{base}/v1/jobs/{job}/events?after=now") as stream:
        events = stream.events()
        _, pos = next(events)
        id, _ = next(events)
    epoch, _, seq = json.loads(pos)["at"].partition("-")
    assert id == f"{epoch}-{int(seq) + 1}"
