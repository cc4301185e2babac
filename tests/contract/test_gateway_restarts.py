"""Streams outlive their gateway and their worker: a deploy, a killed gateway, a killed worker, a ledger that stands still."""

from __future__ import annotations

import json
import secrets
import signal
import time

from gateways import SLOW, Sse, another_gateway, ask, kill, result, submit, text_of
from stack import Stack


def test_heartbeats_and_the_last_word_do_not_wait_for_the_ledger(stack: Stack) -> None:
    job = "job_" + secrets.token_hex(13).translate(str.maketrans("01", "ab"))
    with another_gateway(stack, "steady", HEADRACE_HEARTBEAT_S="0.1") as (base, process), stack.client as client:
        now = str(int(time.time() * 1000))
        client.hset(
            f"{{hr}}:job:{job}", mapping={"kind": "job", "state": "queued", "created": now, "epoch": "0", "seq": "0"}
        )
        server = client.info("server")["process_id"]  # type: ignore[index]
        try:
            with Sse(f"{base}/v1/jobs/{job}/events") as stream:
                assert stream.answer.readline() == b": hb\n"
                kill(server, signal.SIGSTOP)
                began = time.monotonic()
                for _ in range(10):
                    assert stream.answer.readline() in (b": hb\n", b"\n")
                process.send_signal(signal.SIGTERM)
                assert [json.loads(data)["t"] for _, data in stream.events()] == ["bye"]
                assert time.monotonic() - began < 20, "nobody waited for the ledger, which takes a minute"
                answer = ask(f"{stack.ready['gateway']}/healthz")
                assert (answer.status, answer.json["error"]["code"]) == (503, "unreachable")
        finally:
            kill(server, signal.SIGCONT)
            client.delete(f"{{hr}}:job:{job}")


def test_a_deploy_ends_streams_and_no_job(stack: Stack) -> None:
    with another_gateway(stack, "old") as (old, process), another_gateway(stack, "new") as (new, _):
        job = submit(old, SLOW)
        streams = {
            view: Sse(f"{old}/v1/jobs/{job}/events?view={view}")
            for view in ("native", "openai", "ui-message-stream", "ag-ui")
        }
        readers = {view: stream.events() for view, stream in streams.items()}
        seen = {view: [next(reader) for _ in range(4)] for view, reader in readers.items()}
        process.send_signal(signal.SIGTERM)
        for view, reader in readers.items():
            seen[view] += list(reader)
            streams[view].close()
        assert process.wait(5) == 0, "long before the answer is whole"
        assert json.loads(seen["native"].pop()[1])["t"] == "bye"
        assert json.loads(seen["openai"][-1][1])["error"]["code"] == "interrupted"
        assert json.loads(seen["ui-message-stream"][-1][1])["type"] == "error"
        assert "RUN_" not in seen["ag-ui"][-1][1], "this client resumes where the stream was cut"
        last = str(seen["native"][-1][0])
        rest = Sse(f"{new}/v1/jobs/{job}/events", last_event_id=last).all()
        assert text_of(seen["native"] + rest) == result(new, job)["completion"]["content"]
        assert result(new, job)["attempts"] == 1


def test_a_gateway_that_is_killed_costs_nothing(stack: Stack) -> None:
    with another_gateway(stack, "dying") as (dying, process), another_gateway(stack, "living") as (living, _):
        job = submit(dying, SLOW)
        with Sse(f"{dying}/v1/jobs/{job}/events") as stream:
            events = []
            for event in stream.events():
                events.append(event)
                if len(events) == 10:
                    process.kill()
        rest = Sse(f"{living}/v1/jobs/{job}/events", last_event_id=str(events[-1][0])).all()
        shown = result(living, job)
        assert text_of(events + rest) == shown["completion"]["content"]
        assert shown["attempts"] == 1


def test_a_worker_that_is_killed_makes_viewers_begin_anew(stack: Stack, base: str) -> None:
    import os

    job = submit(base, f"Anew: {SLOW}")  # what the killed gateway left is not joined
    with Sse(f"{base}/v1/jobs/{job}/events") as stream, Sse(f"{base}/v1/jobs/{job}/events?view=openai") as chunks:
        events: list[tuple[str | None, str]] = []
        for event in stream.events():
            events.append(event)
            if len(events) == 10:
                os.kill(stack.ready["workers"]["interactive"], signal.SIGKILL)
        assert text_of(events) == result(base, job)["completion"]["content"]
        assert [json.loads(data)["n"] for _, data in events if '"attempt.start"' in data] == [1, 2]
        assert json.loads(chunks.all()[-1][1])["error"]["code"] == "superseded"
