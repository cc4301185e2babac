"""Images, sound and PDF files in bulk, against the whole service: what reaches the provider, and what lies where."""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_transport import answer
from media_files import image, pdf, sound
from stack import Stack, started
from stub_provider import StubProvider, stub_provider

from headrace import Headrace
from headrace.errors import InputError

BOTH_WAYS = True
MODEL = "stub/any"


@pytest.fixture(scope="module")
def provider() -> Iterator[StubProvider]:
    with stub_provider({"seen": answer("A receipt.")}) as provider:
        yield provider


@pytest.fixture(scope="module")
def stack(provider: StubProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    row = {"like": "vllm", "base_url": provider.url, "unsupported": []}
    environment = {"HEADRACE_PROVIDERS": json.dumps({"stub": row, "other": row})}
    with started(tmp_path_factory.mktemp("media"), "--no-flower", environment=environment) as stack:
        yield stack


def parts(provider: StubProvider, mark: str) -> list[dict[str, Any]]:
    """The parts that are no text of all requests with `mark` in their prompt."""
    found = []
    for body in provider.bodies:
        for message in body["messages"]:
            if isinstance(message["content"], list) and any(
                mark in part.get("text", "") for part in message["content"]
            ):
                found += [part for part in message["content"] if part["type"] != "text"]
    return found


def sent(part: dict[str, Any]) -> bytes:
    url = part["image_url"]["url"]
    assert url.startswith("data:image/")
    return base64.b64decode(url.partition(";base64,")[2])


def files_of(stack: Stack, pattern: str) -> list[Path]:
    return [path for path in Path(stack.ready["files"]).glob(pattern) if path.is_file()]


def test_each_image_reaches_the_provider_and_lies_in_the_store_once(
    client: Headrace, provider: StubProvider, stack: Stack, request: pytest.FixtureRequest
) -> None:
    mark = f"<seen> {request.node.name}"
    images = [image("JPEG", (160, 120)) for _ in range(30)]
    before = len(files_of(stack, "media/*/*"))
    rows = [{"n": n, "scan": images[n % 30]} for n in range(60)]
    batch = client.extract(rows, mark + " {n}", images="scan", model=MODEL, id="n", keep="all")
    assert batch.wait(120).succeeded == 60
    assert Counter(sent(part) for part in parts(provider, mark)) == dict.fromkeys(images, 2)
    assert [row.kept for row in batch.results()][:2] == [{"n": 0}, {"n": 1}]
    shared = files_of(stack, "media/*/*")
    assert len(shared) - before == 30
    mine = files_of(stack, f"{batch.id}/media/*")
    assert sorted(path.name for path in mine) == sorted(hashlib.sha256(data).hexdigest() for data in images)
    assert {path.stat().st_ino for path in mine} <= {path.stat().st_ino for path in shared}, "linked, not copied"
    size = sum(path.stat().st_size for path in files_of(stack, f"{batch.id}/input.jsonl"))
    assert size < 60 * 400
    again = client.extract(rows, mark + " again {n}", images="scan", model=MODEL)
    again.wait(120)
    assert len(files_of(stack, "media/*/*")) - before == 30, "another batch over them keeps no copy"


def test_a_cached_answer_is_that_of_the_same_image(client: Headrace, provider: StubProvider, request: Any) -> None:
    mark, first, second = f"<seen> {request.node.name}", image(), image()
    for data, calls in ((first, 1), (second, 2), (first, 2)):
        batch = client.extract([{"scan": data}], mark, images="scan", model=MODEL)
        assert batch.wait(60).succeeded == 1
        assert len(parts(provider, mark)) == calls


def test_a_retried_batch_has_the_files_of_the_first(
    client: Headrace, provider: StubProvider, stack: Stack, request: Any
) -> None:
    mark, data = f"<missing> {request.node.name}", image()
    batch = client.extract([{"scan": data}], mark, images="scan", model=MODEL)
    assert batch.wait(120).failed == 1, "the stub knows no such key"
    (path,) = files_of(stack, f"{batch.id}/media/*")
    again = batch.retry()
    again.wait(120)
    (linked,) = files_of(stack, f"{again.id}/media/*")
    assert linked.stat().st_ino == path.stat().st_ino
    assert {sent(part) for part in parts(provider, mark)} == {data}


def test_sounds_and_pdf_files_reach_the_provider(client: Headrace, provider: StubProvider, request: Any) -> None:
    mark, clip, document = f"<seen> {request.node.name}", sound(), pdf("Invoice")
    rows = [{"clip": clip, "doc": {"bytes": document, "path": "a/b.pdf"}}]
    batch = client.extract(rows, mark, recordings="clip", pdfs="doc", model=MODEL)
    assert batch.wait(60).succeeded == 1
    assert parts(provider, mark) == [
        {"type": "input_audio", "input_audio": {"data": base64.b64encode(clip).decode(), "format": "wav"}},
        {
            "type": "file",
            "file": {
                "filename": "b.pdf",
                "file_data": f"data:application/pdf;base64,{base64.b64encode(document).decode()}",
            },
        },
    ]


def test_a_missing_file_fails_its_item_alone(
    client: Headrace, provider: StubProvider, stack: Stack, request: pytest.FixtureRequest
) -> None:
    key = f"later {request.node.name}"
    rows = [{"scan": image()}, {"scan": image()}]
    lost, _ = (hashlib.sha256(row["scan"]).hexdigest() for row in rows)
    batch = client.extract(rows, f"<{key}>", images="scan", model=MODEL)
    assert batch.wait(120).failed == 2, "the stub does not know the key yet"
    (Path(stack.ready["files"]) / batch.id / "media" / lost).unlink()
    provider.answers[key], provider.calls[key] = answer("A receipt."), 0
    again = batch.retry()
    assert again.wait(120).succeeded == 1
    first, second = again.results()
    assert (first.ok, second.ok) == (False, True)
    assert first.error is not None
    assert first.error.code == "storage"
    assert lost in first.error.message


def test_a_text_that_looks_like_a_reference_is_a_text(client: Headrace, provider: StubProvider, request: Any) -> None:
    mark = f"<seen> {request.node.name}"
    address = f"headrace-media:image/png;sha256={'0' * 64}"
    talk = [
        {
            "role": "user",
            "content": [{"type": "text", "text": mark}, {"type": "image_url", "image_url": {"url": address}}],
        }
    ]
    batch = client.extract([{"messages": talk, "scan": image()}], images="scan", per_item="messages", model=MODEL)
    assert batch.wait(60).succeeded == 1
    first, second = parts(provider, mark)
    assert first["image_url"]["url"] == address
    assert sent(second)


def test_an_items_own_parts_reach_the_provider(client: Headrace, provider: StubProvider, request: Any) -> None:
    mark = f"<seen> {request.node.name}"
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
    rows = [
        {"id": "a", "text": "1", "system": "Own.", "model": "other/tiny", "options": {"temperature": 0.5}},
        {"id": "b", "text": "2", "system": None, "model": None, "options": None},
    ]
    per_item = ["system", "model", "options"]
    batch = client.extract(
        rows, mark + " {text}", system="All.", per_item=per_item, tools=[tool], model=MODEL, cache=False
    )
    assert batch.wait(60).succeeded == 2
    bodies = sorted((body for body in provider.bodies if mark in str(body["messages"])), key=lambda body: body["model"])
    assert [(body["model"], body["messages"][0]["content"], body.get("temperature")) for body in bodies] == [
        ("any", "All.", None),
        ("tiny", "Own.", 0.5),
    ]
    assert [body["tools"][0]["function"]["name"] for body in bodies] == ["look"] * 2


def test_an_items_model_that_nobody_can_call_is_refused_before_anything_is_paid(
    client: Headrace, provider: StubProvider
) -> None:
    before = len(provider.bodies)
    rows = [{"text": "<seen>", "model": None}, {"text": "<seen>", "model": "nobody/x"}]
    with pytest.raises(InputError, match="nobody"):
        client.extract(rows, per_item="model", model=MODEL)
    assert len(provider.bodies) == before


def test_a_conversation_with_examples_and_jinja_reach_the_provider(
    client: Headrace, provider: StubProvider, request: Any
) -> None:
    mark = f"<seen> {request.node.name}"
    talk = [
        {"role": "user", "content": "It broke."},
        {"role": "assistant", "content": '{"stars": 1}'},
        {"role": "user", "content": mark + " {text}"},
    ]
    client.extract([{"text": "Good."}], messages=talk, model=MODEL).wait(60)
    jinja = mark + "{% if good %} jinja yes{% endif %}"
    client.extract([{"good": True}], jinja, template="jinja", system="S {{ good }}", model=MODEL).wait(60)
    asked = [body["messages"] for body in provider.bodies if mark in str(body["messages"])]
    assert asked == [
        [*talk[:2], {"role": "user", "content": f"{mark} Good."}],
        [{"role": "system", "content": "S true"}, {"role": "user", "content": f"{mark} jinja yes"}],
    ]


def test_from_the_command_line(stack: Stack, provider: StubProvider, tmp_path: Path) -> None:
    folder = tmp_path / "receipts"
    folder.mkdir()
    images = [image("JPEG", (300, 200)) for _ in range(3)]
    for number, data in enumerate(images):
        (folder / f"{number}.jpg").write_bytes(data)
    (folder / "bad.jpg").write_bytes(b"Not found")
    words = ("--prompt", "<seen> from the shell", "--model", MODEL, "--out", str(tmp_path / "rows.jsonl"))
    done = stack.run("extract", str(folder), *words)
    assert done.returncode == 2
    assert "bad.jpg: is no image but a text" in done.stderr
    done = stack.run("extract", str(folder), *words, "--on-bad-row", "error", "--image-size", "100")
    assert done.returncode == 1, done.stderr
    assert [json.loads(line)["custom_id"] for line in (tmp_path / "rows.jsonl").read_text().splitlines()] == [
        *("0.jpg", "1.jpg", "2.jpg"),
    ]
    assert "bad.jpg: is no image but a text" in (tmp_path / "rows.errors.jsonl").read_text()
    assert all(len(sent(part)) < len(images[0]) for part in parts(provider, "from the shell"))
    (tmp_path / "talk.json").write_text('[{"role": "user", "content": "a {text"}]')
    (tmp_path / "in.jsonl").write_text('{"text": "a"}\n')
    words = ("--model", MODEL, "--dry-run", "--messages")
    done = stack.run("extract", str(tmp_path / "in.jsonl"), *words, str(tmp_path / "talk.json"))
    assert done.returncode == 2
    assert "talk.json: /0/content: " in done.stderr
    (tmp_path / "broken.json").write_text('[{"role": "user",\n "content": }]')
    done = stack.run("extract", str(tmp_path / "in.jsonl"), *words, str(tmp_path / "broken.json"))
    assert "broken.json, line 2, column 13: not JSON" in done.stderr


def test_a_cached_answer_is_that_of_the_same_system_message(
    client: Headrace, provider: StubProvider, request: Any
) -> None:
    mark = f"<seen> {request.node.name}"
    rows = [{"text": "x", "system": system} for system in ("A", "B", None, "A")]
    batch = client.extract(rows, mark + " {text}", system="All.", per_item="system", model=MODEL)
    assert batch.wait(60).succeeded == 4
    asked = [body["messages"] for body in provider.bodies if mark in str(body["messages"])]
    assert sorted(talk[0]["content"] for talk in asked) == ["A", "All.", "B"]
