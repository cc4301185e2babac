"""The page in a real browser, and the browser's own EventSource and WebSocket, unmodified."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gateways import SLOW, another_gateway, ask, kill, submit, text_of
from playwright.sync_api import Browser, Page
from stack import Stack, alive, started, until

SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["title", "summary"],
    "properties": {"title": {"type": "string"}, "summary": {"type": "string"}},
}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with started(tmp_path_factory.mktemp("browser"), "--no-flower") as stack:
        yield stack


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context()
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if "Content Security" in message.text else None)
    yield page
    context.close()
    assert errors == []


def shows(page: Page, expression: str, seconds: float = 30) -> Any:
    return until(lambda: page.evaluate(expression), what=expression, seconds=seconds)


def text(page: Page, selector: str) -> str:
    return page.text_content(selector) or ""


def ask_on_page(page: Page, base: str, prompt: str, schema: Any = None) -> str:
    """Fill the form and send it; the job's id."""
    page.goto(base)
    page.get_by_label("Model").fill("rehearsal/small")
    page.get_by_label("Prompt").fill(prompt)
    if schema:
        page.get_by_text("Answer as JSON").click()
        page.get_by_label("JSON Schema").fill(json.dumps(schema))
    page.get_by_role("button", name="Ask").click()
    shows(page, "location.hash.startsWith('#job=')")
    return page.url.partition("#job=")[2]


def result(base: str, job: str) -> Any:
    return ask(f"{base}/v1/jobs/{job}").json


def test_reload_kill_the_worker_kill_the_gateway(stack: Stack, page: Page) -> None:
    """What is on the screen in the end is the stored result."""
    base = stack.ready["gateway"]
    job = ask_on_page(page, base, SLOW)
    shows(page, "document.querySelector('#content').textContent.length > 30")
    page.reload()
    shows(page, "document.querySelector('#content').textContent.length > 60")
    assert text(page, "#state") == "answering …"
    kill(stack.ready["workers"]["interactive"])
    shows(page, "document.querySelectorAll('#attempts li').length == 2", seconds=40)
    shows(page, "document.querySelector('#content').textContent.length > 30")
    old = stack.ready["gateway_pid"]
    kill(old)
    until(lambda: stack.ready["gateway_pid"] not in (old, None), what="the gateway is back")
    shows(page, "document.querySelector('#state').textContent == 'done'", seconds=40)
    stored = result(base, job)
    assert stored["status"] == "succeeded"
    assert stored["attempts"] == 2
    assert text(page, "#content") == stored["completion"]["content"]
    page.reload()
    shows(page, "document.querySelector('#state').textContent == 'done'")
    assert text(page, "#content") == stored["completion"]["content"]


def test_the_stop_button_stops(stack: Stack, page: Page) -> None:
    base = stack.ready["gateway"]
    job = ask_on_page(page, base, SLOW)
    shows(page, "document.querySelector('#content').textContent.length > 30")
    page.get_by_role("button", name="Stop", exact=True).click()
    shows(page, "document.querySelector('#state').textContent.startsWith('cancelled')")
    assert result(base, job)["status"] == "cancelled"
    assert len(text(page, "#content")) > 30, "what had come stays"


def test_a_structured_answer_fills_in(stack: Stack, page: Page) -> None:
    base = stack.ready["gateway"]
    job = ask_on_page(page, base, "[[rehearsal tps=15]] Extract: the mill stands at the end of a long channel.", SCHEMA)
    shows(
        page,
        "document.querySelectorAll('#value dt').length == 1 && document.querySelector('#state').textContent != 'done'",
    )
    shows(page, "document.querySelector('#state').textContent == 'done'")
    value = result(base, job)["completion"]["value"]
    names = page.locator("#value dt").all_text_contents()
    assert dict(zip(names, page.locator("#value dd").all_text_contents(), strict=True)) == value


PET = {"anyOf": [{"$ref": "#/$defs/cat"}, {"$ref": "#/$defs/dog"}]}
LOWERED = {
    "type": "object",
    "required": ["name", "visits", "size", "pets", "favourite"],
    "properties": {
        "name": {"type": "string"},
        "visits": {"type": "object", "additionalProperties": {"type": "integer"}, "minProperties": 1},
        "size": {"type": ["integer", "string"]},
        "note": {"type": "string"},
        "pets": {"type": "array", "items": PET, "minItems": 2},
        "favourite": PET,
    },
    "$defs": {
        "cat": {"type": "object", "required": ["lives"], "properties": {"lives": {"type": "integer"}}},
        "dog": {"type": "object", "required": ["tricks"], "properties": {"tricks": {"additionalProperties": True}}},
    },
}


def test_maps_and_unions_end_as_they_are_stored(stack: Stack, page: Page) -> None:
    """What is on the wire while it comes is another form; what stays on the screen is the value."""
    base = stack.ready["gateway"]
    job = ask_on_page(page, base, "[[rehearsal tps=40]] Ada has two pets.", LOWERED)
    shows(page, "document.querySelector('#value').textContent.includes('entries')")
    shows(page, "document.querySelector('#state').textContent == 'done'")
    value = result(base, job)["completion"]["value"]
    assert isinstance(value["visits"], dict)
    assert "entries" not in value["visits"]
    names = page.locator("#value dt").all_text_contents()
    shown = dict(zip(names, page.locator("#value dd").all_text_contents(), strict=True))
    assert {name: text if isinstance(value[name], str) else json.loads(text) for name, text in shown.items()} == value


@pytest.mark.parametrize("schema", [{"type": "array", "items": PET["anyOf"][0]}, {"type": "integer"}, {"const": "x"}])
def test_a_root_that_is_no_object(stack: Stack, page: Page, schema: dict[str, Any]) -> None:
    base = stack.ready["gateway"]
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema | {"$defs": LOWERED["$defs"]}}}
    job = submit(base, "Ada has a cat.", response_format=form)
    page.goto(f"{base}/#job={job}")
    shows(page, "document.querySelector('#state').textContent == 'done'")
    assert json.loads(text(page, "#content")) == result(base, job)["completion"]["value"]


def test_a_text_that_only_begins_like_json(stack: Stack, page: Page) -> None:
    base = stack.ready["gateway"]
    job = ask_on_page(page, base, "{x} is a set")
    shows(page, "document.querySelector('#state').textContent == 'done'")
    assert text(page, "#content") == result(base, job)["completion"]["content"]


def test_reasoning_apart_from_the_text(stack: Stack, page: Page) -> None:
    base = stack.ready["gateway"]
    job = submit(base, "Think.", model="vllm/qwen", enable_thinking=True)
    page.goto(f"{base}/#job={job}")
    shows(page, "document.querySelector('#state').textContent == 'done'")
    completion = result(base, job)["completion"]
    assert completion["reasoning"]
    assert text(page, "#reasoning") == completion["reasoning"]
    assert text(page, "#content") == completion["content"]


def test_tool_calls(stack: Stack, page: Page) -> None:
    base = stack.ready["gateway"]
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    tools = [{"type": "function", "function": {"name": "weather", "parameters": parameters}}]
    job = submit(base, "Weather in Rome?", tools=tools, tool_choice="required")
    page.goto(f"{base}/#job={job}")
    shows(page, "document.querySelector('#state').textContent == 'done'")
    (call,) = result(base, job)["completion"]["tool_calls"]
    assert text(page, "#tools h3").startswith("calls weather")
    assert text(page, "#tools pre") == call["function"]["arguments"]


def send_file(page: Page, file: Path) -> None:
    """Choose a file, and send it when it was said what it will cost."""
    page.get_by_label("Many at once: a JSONL file").set_input_files(file)
    page.get_by_role("button", name="Send").click()


def test_a_file_is_not_sent_before_it_was_said_what_it_will_cost(stack: Stack, page: Page, tmp_path: Path) -> None:
    paid = len(stack.calls())
    file = tmp_path / "reviews.jsonl"
    file.write_text("".join(json.dumps({"text": f"Review {n}, and what it is about."}) + "\n" for n in range(7)))
    page.goto(stack.ready["gateway"])
    page.get_by_label("Prompt").fill("Extract from: {text}")
    page.get_by_label("Many at once: a JSONL file").set_input_files(file)
    page.get_by_role("button", name="Not now").click()
    told = page.locator("#offer-facts li").all_text_contents()
    assert told[0] == "reviews.jsonl: 7 calls"
    assert told[1].startswith("tokens in: about ")
    assert told[3].startswith("cost: ")
    assert not page.locator("#offer").is_visible()
    assert len(stack.calls()) == paid
    send_file(page, file)
    shows(page, "document.querySelector('#counts').textContent.startsWith('7 of 7 done')")
    assert len(stack.calls()) == paid + 7
    shows(page, "/^today \\$[0-9.]+ for [0-9,]+ calls/.test(document.querySelector('#spend').textContent)")


def test_a_file_that_one_request_could_not_carry_has_its_figure_too(stack: Stack, page: Page, tmp_path: Path) -> None:
    file = tmp_path / "long.jsonl"
    file.write_text("".join(json.dumps({"text": f"{n} " + "word " * 100_000}) + "\n" for n in range(70)))
    page.goto(stack.ready["gateway"])
    page.get_by_label("Prompt").fill("Extract from: {text}")
    page.get_by_label("Many at once: a JSONL file").set_input_files(file)
    page.get_by_role("button", name="Not now").click(timeout=60_000)
    assert page.locator("#offer-facts li").all_text_contents()[0] == "long.jsonl: 70 calls"


def test_a_file_of_jobs(stack: Stack, page: Page, tmp_path: Path) -> None:
    base = stack.ready["gateway"]
    lines = [{"id": f"r{n}", "text": f"Review {n}. [[rehearsal tps=60]]"} for n in range(20)]
    lines[7]["text"] = "[[rehearsal fault=400]]"
    file = tmp_path / "reviews.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    page.goto(base)
    page.get_by_label("Prompt").fill("Extract from: {text}")
    send_file(page, file)
    shows(page, "document.querySelector('#counts').textContent.startsWith('20 of 20 done')")
    assert "19 succeeded · 1 not" in text(page, "#counts")
    rows = page.locator("#rows tr").all_text_contents()
    assert len(rows) == 20
    assert rows[7].startswith("r7failed")
    page.reload()
    shows(page, "document.querySelector('#counts').textContent.startsWith('20 of 20 done')")
    page.locator("#rows a").first.click()
    shows(page, "document.querySelector('#state').textContent == 'done'")
    file.write_text('{"id": 1}\n')
    page.get_by_label("Prompt").fill("Extract from: {text}")
    page.get_by_label("Many at once: a JSONL file").set_input_files(file)
    shows(page, "document.querySelector('#problem').textContent.includes('line 1')")


def test_a_file_of_jobs_while_the_gateway_is_killed(stack: Stack, page: Page, tmp_path: Path) -> None:
    """Once while they are being submitted, once while they run: none is refused, lost, or paid twice."""
    paid = {call.n for call in stack.calls()}
    file = tmp_path / "reviews.jsonl"
    file.write_text("".join(json.dumps({"text": f"Review {n}. [[rehearsal tps=40]]"}) + "\n" for n in range(60)))
    page.goto(stack.ready["gateway"])
    page.get_by_label("Prompt").fill("Extract from: {text}")
    send_file(page, file)
    for cell in ("queued", "succeeded"):
        shows(page, f"[...document.querySelectorAll('#rows td')].some((one) => one.textContent == '{cell}')")
        kill(
            until(lambda: (pid := stack.ready["gateway_pid"]) and alive(pid) and pid, what="the gateway is there again")
        )
    shows(page, "document.querySelector('#counts').textContent.startsWith('60 of 60 done')")
    assert "60 succeeded · 0 not" in text(page, "#counts")
    assert len({call.n for call in stack.calls()} - paid) == 60


def test_a_file_of_jobs_over_a_reload(stack: Stack, page: Page, tmp_path: Path) -> None:
    """What was not yet submitted is submitted afterwards, and nothing twice."""
    paid = {call.n for call in stack.calls()}
    file = tmp_path / "reviews.jsonl"
    file.write_text("".join(json.dumps({"text": f"Review {n}."}) + "\n" for n in range(200)))
    page.goto(stack.ready["gateway"])
    page.get_by_label("Prompt").fill("Extract from: {text}")
    send_file(page, file)
    shows(page, "[...document.querySelectorAll('#rows td')].some((one) => one.textContent == 'queued')")
    page.reload()
    shows(page, "document.querySelector('#counts').textContent.startsWith('200 of 200 done')", seconds=40)
    assert "200 succeeded · 0 not" in text(page, "#counts")
    assert len({call.n for call in stack.calls()} - paid) == 200


def test_mistakes_are_told(stack: Stack, page: Page) -> None:
    base = stack.ready["gateway"]
    page.goto(base)
    page.get_by_label("Model").fill("nobody/model")
    page.get_by_label("Prompt").fill("x")
    page.get_by_role("button", name="Ask").click()
    shows(page, "document.querySelector('#problem').textContent.includes('provider')")
    page.goto(f"{base}/#job=job_nothing")
    shows(page, "document.querySelector('#problem').textContent.includes('unknown')")


def test_by_keyboard_and_with_names_for_everything(stack: Stack, page: Page) -> None:
    page.goto(stack.ready["gateway"])
    unnamed = page.evaluate(
        "[...document.querySelectorAll('input, textarea, button, progress')].filter("
        "one => !(one.labels?.length || one.textContent.trim() || one.getAttribute('aria-labelledby'))).map(one => one.id)"
    )
    assert unnamed == []
    page.get_by_label("Model").fill("rehearsal/small")
    page.get_by_label("Prompt").fill("Hello")
    page.keyboard.press("Control+Enter")
    shows(page, "document.querySelector('#state').textContent == 'done'")
    assert page.evaluate("document.activeElement.id") == "answer"


EVENT_SOURCE = """
([url, kill]) => { window.seen = []; window.state = '';
  const source = new EventSource(url); window.source = source;
  source.onmessage = ({lastEventId, data}) => { if (JSON.parse(data).t != 'bye') seen.push([lastEventId, data]); };
  source.onerror = () => { state = source.readyState === EventSource.CLOSED ? 'closed' : 'again'; }; }
"""


def test_the_browsers_own_event_source(stack: Stack, page: Page) -> None:
    """Cut in the middle by a deploy, it comes back by itself; at the end it is told 204 and stays away."""
    base = stack.ready["gateway"]
    job = submit(base, SLOW)
    page.goto(base)
    page.evaluate(EVENT_SOURCE, [f"{base}/v1/jobs/{job}/events", True])
    shows(page, "seen.length > 8")
    old = stack.ready["gateway_pid"]
    kill(old, signal.SIGTERM)
    shows(page, "state == 'closed'", seconds=40)
    seen = page.evaluate("seen")
    assert text_of([(id, data) for id, data in seen]) == result(base, job)["completion"]["content"]


WEB_SOCKET = """
([url, after]) => { window.frames_ = []; window.code = 0;
  const socket = new WebSocket(url, ['headrace.v1']); window.socket = socket;
  socket.onmessage = ({data}) => frames_.push(JSON.parse(data));
  socket.onclose = (event) => { code = event.code; }; }
"""


def test_the_browsers_own_web_socket(stack: Stack, page: Page) -> None:
    with another_gateway(stack, "first") as (first, process):
        job = submit(first, SLOW)
        page.goto(first)
        url = f"ws{first[4:]}/v1/stream?job={job}"
        page.evaluate(WEB_SOCKET, [url, ""])
        shows(page, "frames_.length > 8")
        process.send_signal(signal.SIGTERM)
        shows(page, "code == 1012")
        frames = page.evaluate("frames_")
    base = stack.ready["gateway"]
    page.goto(base)
    last = [frame["id"] for frame in frames if "id" in frame][-1]
    page.evaluate(WEB_SOCKET, [f"ws{base[4:]}/v1/stream?job={job}&after={last}", ""])
    shows(page, "code == 1000")
    frames += page.evaluate("frames_")
    assert (
        text_of([(frame.get("id"), json.dumps(frame)) for frame in frames])
        == result(base, job)["completion"]["content"]
    )


CLIENT = """
async ([job, transport, base]) => { window.done = null; window.got = [];
  const { openStream, fold } = await import('/headrace.js');
  const stream = openStream({ job, transport, url: base, onStatus: (s) => { window.status_ = s; } });
  window.stream = stream;
  (async () => { let state = fold();
    for await (const event of stream) { got.push(event.id); state = fold(state, event); }
    done = state; })(); }
"""


@pytest.mark.parametrize("transport", ["sse", "ws"])
def test_the_client_over_a_deploy(stack: Stack, page: Page, transport: str) -> None:
    base = stack.ready["gateway"]
    job = submit(base, SLOW)
    page.goto(base)
    page.evaluate(CLIENT, [job, transport, base])
    shows(page, "got.length > 8")
    kill(stack.ready["gateway_pid"], signal.SIGTERM)
    shows(page, "done !== null", seconds=40)
    assert page.evaluate("done.content") == result(base, job)["completion"]["content"]
    assert page.evaluate("new Set(got).size == got.length")
    assert page.evaluate("stream.cursor") == page.evaluate("got.at(-1)")
