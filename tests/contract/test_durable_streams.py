"""`/v1/streams/{id}`: event logs through the official clients of the Durable Streams protocol, and what it says to the byte."""

from __future__ import annotations

import json
import re
import shutil
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from durable_streams import DurableStream, stream
from gateways import SLOW, Sse, TwoGateways, another_gateway, ask, compacted_log, result, submit
from headrace_api.auth import EVERY_JOB, SCOPES, Gate
from node_clients import Node
from stack import Stack, until

JS = Path(__file__).parent / "js"
OFFSET = re.compile(r"[0-9]{15}-[0-9]{15}")
START = f"{0:015d}-{0:015d}"


@pytest.fixture(scope="module")
def packages() -> Path:
    if shutil.which("node") is None or not (JS / "node_modules" / "@durable-streams").is_dir():
        pytest.skip("the clients of npm are not installed: `make js`, with Node 20")
    return JS


def stored(base: str, job: str) -> list[dict[str, Any]]:
    """The events of a log, as the native view says them."""
    return [json.loads(data) for _, data in Sse(f"{base}/v1/jobs/{job}/events").all()]


def url_of(base: str, subject: str) -> str:
    return f"{base}/v1/streams/{subject}"


class TestForPython:
    def test_reads_what_is_there(self, base: str) -> None:
        job = submit(base)
        result(base, job)
        with stream(url_of(base, job), live=False) as response:
            assert response.read_json() == stored(base, job)
            assert response.up_to_date
            end = response.offset
        head = DurableStream.head_static(url_of(base, job))
        assert (head.content_type, head.offset) == ("application/json", end)
        with stream(url_of(base, job), offset=end, live=False) as response:
            assert response.read_json() == []

    @pytest.mark.parametrize("live", ["sse", "long-poll"])
    def test_follows_and_goes_on_after_a_cut(self, live: Any, base: str) -> None:
        job = submit(base, SLOW)
        seen: list[dict[str, Any]] = []
        offset = "-1"
        while not seen or seen[-1]["t"] != "end":
            with stream(url_of(base, job), offset=offset, live=live, timeout=30) as response:
                for n, batch in enumerate(response.iter_events(mode="json"), 1):
                    seen += batch.data
                    assert batch.next_offset > offset or offset == "-1"
                    offset = batch.next_offset
                    if n % 4 == 0 or seen[-1]["t"] == "end":
                        break  # the connection is closed, and the next one begins where it was
        assert seen == stored(base, job)

    def test_begins_now(self, base: str) -> None:
        job = submit(base, SLOW)
        until(lambda: len(stored_so_far(base, job)) > 5, what="something was said")
        before = stored_so_far(base, job)
        with stream(url_of(base, job), offset="now", live="sse", timeout=30) as response:
            seen: list[dict[str, Any]] = []
            for event in response.iter_json():
                seen.append(event)
                if event["t"] == "end":
                    break
        whole = stored(base, job)
        assert seen == whole[-len(seen) :]
        assert len(seen) <= len(whole) - len(before)


def stored_so_far(base: str, job: str) -> list[dict[str, Any]]:
    return ask(url_of(base, job)).json


class TestForNode:
    @pytest.mark.parametrize("live", ["sse", "long-poll", "none"])
    def test_reads_until_it_is_closed(self, live: str, base: str, packages: Path) -> None:
        job = submit(base, "Why?" if live == "none" else SLOW)
        if live == "none":
            result(base, job)
        found = Node(packages, "durable.mjs", url_of(base, job), live).result()
        assert found["items"] == stored(base, job)
        assert found["closed"] is True

    @pytest.mark.parametrize("live", ["sse", "long-poll"])
    def test_a_killed_gateway_is_survived(self, live: str, stack: Stack, packages: Path) -> None:
        with TwoGateways(stack) as gateways:
            other, own = gateways.bases
            job = submit(other, SLOW)
            node = Node(packages, "durable.mjs", url_of(own, job), live)
            node.word("five")
            gateways.kill(1)
            found = node_result(node, gateways)
            assert found["items"] == stored(other, job)


def node_result(node: Node, gateways: TwoGateways) -> Any:
    """The result of a program; meanwhile the gateway is kept running."""
    over = threading.Event()

    def tick() -> None:
        while not over.wait(0.1):
            gateways.tick()

    ticking = threading.Thread(target=tick)
    ticking.start()
    try:
        return node.result()
    finally:
        over.set()
        ticking.join()


class TestProtocol:
    def test_a_read_in_pieces_is_the_read_at_once(self, base: str) -> None:
        job = submit(base)
        result(base, job)
        answer = ask(url_of(base, job))
        headers = answer.headers
        assert headers["content-type"] == "application/json"
        assert (headers["stream-up-to-date"], headers["stream-closed"]) == ("true", "true")
        assert OFFSET.fullmatch(headers["stream-next-offset"])
        assert headers["cache-control"] == "no-store"
        assert ask(url_of(base, job) + "?offset=-1").body == answer.body
        epoch, _, seq = headers["stream-next-offset"].partition("-")
        middle = f"{epoch}-{int(seq) - 2:015d}"
        rest = ask(f"{url_of(base, job)}?offset={middle}")
        assert rest.json == answer.json[-2:]
        assert rest.headers["stream-next-offset"] == headers["stream-next-offset"]
        now = ask(url_of(base, job) + "?offset=now")
        assert (now.body, now.headers["stream-next-offset"]) == (b"[]", headers["stream-next-offset"])
        assert now.headers["etag"] is None

    def test_what_was_read_before_is_not_sent_again(self, base: str) -> None:
        job = submit(base)
        result(base, job)
        etag = ask(url_of(base, job)).headers["etag"]
        again = ask(url_of(base, job), if_none_match=etag)
        assert (again.status, again.body) == (304, b"")
        assert ask(url_of(base, job), if_none_match='"another"').status == 200

    def test_head_has_the_end_and_no_body(self, base: str) -> None:
        job = submit(base, SLOW)
        running = ask(url_of(base, job), "HEAD")
        assert (running.status, running.body, running.headers["stream-closed"]) == (200, b"", None)
        result(base, job)
        ended = ask(url_of(base, job), "HEAD").headers
        assert ended["stream-closed"] == "true"
        assert ended["stream-next-offset"] == ask(url_of(base, job)).headers["stream-next-offset"]

    def test_long_polls_wait_for_news_and_not_for_a_closed_stream(self, base: str) -> None:
        job = submit(base, SLOW)
        offset = ask(url_of(base, job) + "?offset=now").headers["stream-next-offset"]
        answer = ask(f"{url_of(base, job)}?offset={offset}&live=long-poll")
        assert (answer.status, bool(answer.json)) == (200, True)
        cursor = answer.headers["stream-cursor"]
        again = ask(f"{url_of(base, job)}?offset={offset}&live=long-poll&cursor={cursor}").headers["stream-cursor"]
        assert int(again) > int(cursor)
        result(base, job)
        end = ask(url_of(base, job)).headers["stream-next-offset"]
        began = time.monotonic()
        answer = ask(f"{url_of(base, job)}?offset={end}&live=long-poll")
        assert (answer.status, answer.body, answer.headers["stream-closed"]) == (204, b"", "true")
        assert answer.headers["stream-next-offset"] == end
        assert time.monotonic() - began < 10

    def test_a_long_poll_ends_with_the_gateway(self, stack: Stack, base: str) -> None:
        job = submit(base, "[[rehearsal latency=60000]]")
        with another_gateway(stack, "leaving") as (other, process):
            until(lambda: ask(url_of(other, job), "HEAD").headers["stream-next-offset"] != START, what="it runs")
            offset = ask(url_of(other, job), "HEAD").headers["stream-next-offset"]
            timer = threading.Timer(0.5, lambda: process.send_signal(signal.SIGTERM))
            timer.start()
            answer = ask(f"{url_of(other, job)}?offset={offset}&live=long-poll")
            timer.join()
        assert (answer.status, answer.headers["stream-up-to-date"]) == (204, "true")
        ask(f"{base}/v1/jobs/{job}/cancel", "POST", {})

    def test_a_compacted_log_begins_with_its_snapshot(self, stack: Stack, base: str) -> None:
        job = compacted_log(stack, base)
        whole = ask(url_of(base, job))
        assert [event["t"] for event in whole.json] == ["snapshot"], "it ends after so many bytes"
        offset = whole.headers["stream-next-offset"]
        assert whole.headers["stream-up-to-date"] is None
        assert [event["t"] for event in ask(f"{url_of(base, job)}?offset={offset}").json] == ["end"]
        epoch, _, seq = offset.partition("-")
        before = f"{epoch}-{int(seq) - 2:015d}"
        for live in ("", "&live=long-poll", "&live=sse"):
            gone = ask(f"{url_of(base, job)}?offset={before}{live}")
            assert (gone.status, gone.json["error"]["code"]) == (410, "gone"), live

    def test_a_batch_is_a_stream_as_well(self, stack: Stack, base: str, packages: Path) -> None:
        batch = stack.extract([{"text": f"row {n}"} for n in range(20)])
        found = Node(packages, "durable.mjs", url_of(base, batch), "sse").result()
        assert found["closed"] is True
        assert found["items"][-1]["t"] == "end"
        assert found["items"][-1]["succeeded"] == 20
        with stream(url_of(base, batch), live=False) as response:
            assert response.read_json()[-1]["state"] == "completed"

    @pytest.mark.parametrize(
        ("query", "status", "param"),
        [
            ("?offset=x", 400, "offset"),
            ("?offset=1-2", 400, "offset"),
            ("?live=sse", 400, "offset"),
            ("?offset=-1&live=push", 400, "live"),
            ("?offset=-1&live=sse&cursor=x", 400, "cursor"),
            (f"?offset={'9' * 15}-{1:015d}", 410, None),
        ],
    )
    def test_bad_requests_are_told(self, query: str, status: int, param: str | None, base: str) -> None:
        job = submit(base)
        answer = ask(url_of(base, job) + query)
        assert (answer.status, answer.json["error"]["param"]) == (status, param)

    @pytest.mark.parametrize("subject", ["job_nothing", "batch_nothing", "file_x", "batch_%7Bhr%7D"])
    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    def test_what_nobody_knows_is_not_found(self, method: str, subject: str, base: str) -> None:
        assert ask(url_of(base, subject), method).status == 404

    @pytest.mark.parametrize("method", ["PUT", "POST", "DELETE"])
    def test_nothing_can_be_written(self, method: str, base: str) -> None:
        answer = ask(url_of(base, submit(base)), method, b"[]")
        assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")

    def test_a_token_of_one_job_opens_its_stream_alone(self, stack: Stack) -> None:
        secret = "a secret of sixteen characters"
        with another_gateway(stack, "closed", HEADRACE_GATEWAY_OPEN="0", HEADRACE_STREAM_SECRET=secret) as (base, _):
            owner = Gate(secret.encode(), is_open=False).sign(EVERY_JOB, SCOPES, sub="owner", lasts_s=60)
            body = {"model": "rehearsal/small", "messages": [{"role": "user", "content": "Why?"}]}
            jobs = [ask(f"{base}/v1/jobs", "POST", body, authorization=f"Bearer {owner}").json for _ in range(2)]
            bearer = f"Bearer {jobs[0]['stream_token']}"
            assert ask(url_of(base, jobs[0]["id"]), authorization=bearer).status == 200
            assert ask(url_of(base, jobs[1]["id"]), authorization=bearer).status == 403
            assert ask(url_of(base, jobs[0]["id"])).status == 401
