"""Whatever is given as input, prompt and output: nothing is overwritten that was not named, nothing is opened before all of it
was checked, and each refusal names the file, the line and what to do. On a real Valkey; no worker runs: nothing is paid."""

from __future__ import annotations

import contextlib
import os
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import redis
from command_line import Ended, command

GOOD = b'{"id": "1", "text": "a"}\n{"id": "2", "text": "b"}\n'
TABLE = b"id,text\n1,a\n2,b\n"
BATCH = '{{"custom_id":"{}","method":"POST","url":"/v1/chat/completions","body":{}}}\n'
BODY = '{"model":"m","messages":[{"role":"user","content":"hi"}]}'


class Shape(NamedTuple):
    """A file, what a refusal of it has to name (nothing: it is taken), and further arguments."""

    name: str
    data: bytes
    named: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()


SHAPES = (
    Shape("good.jsonl", GOOD),
    Shape("no-suffix", GOOD),
    Shape("good.ndjson", GOOD),
    Shape("other.txt", GOOD),
    Shape("no-line-end.jsonl", GOOD.rstrip(b"\n")),
    Shape("crlf.jsonl", GOOD.replace(b"\n", b"\r\n")),
    Shape("bom.jsonl", b"\xef\xbb\xbf" + GOOD),
    Shape("utf16.jsonl", GOOD.decode().encode("utf-16")),
    Shape("blank-lines.jsonl", b"\n \n" + GOOD + b"\n\n"),
    Shape("half-a-pair.jsonl", b'{"id": "1", "text": "\\ud83d"}\n'),
    Shape("good.csv", TABLE),
    Shape("good.CSV", TABLE),
    Shape("semicolon.csv", TABLE.replace(b",", b";")),
    Shape("excel.csv", b"sep=;\r\n" + TABLE.replace(b",", b";")),
    Shape("good.tsv", TABLE.replace(b",", b"\t")),
    Shape("trailing-comma.csv", b"id,text,\n1,a,\n"),
    Shape("bom.csv", b"\xef\xbb\xbf" + TABLE),
    Shape("latin.csv", b"id,text\n1,caf\xe9\n", (), ("--encoding", "latin-1")),
    Shape("batch.jsonl", BATCH.format("a", BODY).encode()),
    Shape("name with spaces.jsonl", GOOD),
    Shape("caf\u00e9.jsonl", GOOD),
    Shape("empty.jsonl", b"", ("no item",)),
    Shape("blank.jsonl", b"\n\n", ("no item",)),
    Shape("header-only.csv", b"id,text\n", ("no item",)),
    Shape("empty.csv", b"", ("empty",)),
    Shape("broken.jsonl", GOOD + b'{"text":\n', ("line 3", "broken JSON")),
    Shape("two-broken.jsonl", b"{\n" + GOOD + b"}\n", ("2 of its lines", "line 1", "line 4")),
    Shape("list.jsonl", b"[1]\n", ("line 1", "JSON object")),
    Shape("number.jsonl", b"5\n", ("line 1", "JSON object")),
    Shape("array.jsonl", b'[{"text": "a"},\n{"text": "b"}]\n', ("line 1",)),
    Shape("pretty.jsonl", b'{\n  "text": "a"\n}\n', ("line 1", "broken JSON")),
    Shape("missing-field.jsonl", GOOD + b'{"body": "x"}\n', ("line 3", "`text`", "Fields there: body")),
    Shape("null-field.jsonl", b'{"text": null}\n', ("line 1", "`text`", "--on-empty skip")),
    Shape("twice.jsonl", GOOD + b'{"id": "1", "text": "c"}\n', ("line 3", "'1'", "line 1")),
    Shape("long-line.jsonl", GOOD + b'{"text": "' + b"a" * 2_000_000 + b'"}\n', ("line 3", "1 MiB")),
    Shape("deep.jsonl", b'{"text": ' + b"[" * 100_000 + b"\n", ("line 1", "nested too deeply")),
    Shape("latin.jsonl", b'{"text": "caf\xe9"}\n', ("line 1", "not UTF-8", "0xe9")),
    Shape("latin2.csv", b"id,text\n1,caf\xe9\n", ("line 2", "0xe9")),
    Shape("nul.jsonl", b"\x00" * 64, ("line 1",)),
    Shape("twice.csv", b"text,text\na,b\n", ("line 1", "'text'", "twice")),
    Shape("more-cells.csv", b"id,text\n1,a,b,c\n", ("line 2",)),
    Shape("fewer-cells.csv", b"id,text,more\n1,a\n", ("line 2",)),
    Shape("open-quote.csv", b'id,text\n1,"a\n', ("line 2", "quote")),
    Shape("workbook.xlsx", b"PK\x03\x04" + b"\x00" * 64, ("Excel workbook", "save the sheet as CSV")),
    Shape("workbook.csv", b"PK\x03\x04" + b"\x00" * 64, ("Excel workbook", "save the sheet as CSV")),
    Shape("data.parquet", b"PAR1" + b"\x00" * 64 + b"PAR1", ("Parquet", "cut off")),
    Shape("data.jsonl.gz", b"\x1f\x8b\x08" + b"\x00" * 64, ("gzip", "cut off")),
    Shape("data.db", b"SQLite format 3\x00" + b"\x00" * 64, ("a database", ".jsonl or .csv")),
    Shape("bad-url.jsonl", BATCH.format("a", BODY).replace("chat/completions", "files").encode(), ("line 1", "/url")),
    Shape("bad-role.jsonl", BATCH.format("a", BODY).replace("user", "me").encode(), ("line 1", "/role")),
    Shape("key.jsonl", BATCH.format("a", BODY[:-1] + ',"api_key":"sk"}').encode(), ("line 1", "api_key")),
    Shape("stream.jsonl", BATCH.format("a", BODY[:-1] + ',"stream":true}').encode(), ("line 1", "stream")),
    Shape("no-field.jsonl", GOOD, ("names no field", "{id}"), ("--prompt", "Say it.")),
    Shape("open-brace.jsonl", GOOD, ("--prompt", "{{"), ("--prompt", "{text")),
    Shape("dotted.jsonl", GOOD, ("`text.a`", "Fields there"), ("--prompt", "{text.a}")),
    Shape("no-prompt.jsonl", GOOD, ("--prompt @nowhere", "No such file"), ("--prompt", "@nowhere")),
)
FORMS = (
    "jsonl",
    "csv",
    "none",
    "input",
    "link to input",
    "hard link to input",
    "errors beside is the input",
    "there already",
    "link to another",
)


def snapshot(folder: Path) -> dict[str, bytes | str]:
    """Every name below `folder`, with what it is."""
    found: dict[str, bytes | str] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            found[str(path)] = f"-> {os.readlink(path)}"
        elif path.is_file():
            found[str(path)] = path.read_bytes()
    return found


class Place:
    def __init__(self, folder: Path, url: str, namespace: str):
        self.folder, self.url, self.namespace = folder, url, namespace

    def extract(self, *arguments: str, stdin: bytes = b"") -> Ended:
        store = self.folder.parent / f"{self.folder.name}-files"
        environment = {
            "HEADRACE_REDIS_URL": self.url,
            "HEADRACE_NAMESPACE": self.namespace,
            "HEADRACE_FILES": str(store),
        }
        words = ("extract", *arguments, "--model", "rehearsal/small", "--detach")
        return command(*words, folder=self.folder, environment=environment, stdin=stdin)

    def opened(self) -> int:
        with contextlib.closing(redis.Redis.from_url(self.url)) as client:
            return sum(
                key.count(b":batch:")
                for key in client.scan_iter(f"{{{self.namespace}}}:batch:batch_*")
                if key.count(b":") == 2
            )


@pytest.fixture
def place(tmp_path: Path, valkey_url: str, namespace: str) -> Place:
    (tmp_path / "in").mkdir()
    (tmp_path / "another.jsonl").write_bytes(b"another\n")
    return Place(tmp_path / "in", valkey_url, namespace)


def check_refused(
    place: Place, ended: Ended, before: dict[str, bytes | str], named: tuple[str, ...], *, opened: int = 0
) -> None:
    said = ended.err.decode()
    assert (ended.code, ended.crash, ended.out) == (2, "", b""), said
    assert all(word in said for word in named), said
    assert len(said) < 2000
    assert snapshot(place.folder) == before
    assert place.opened() == opened


def out_of(place: Place, form: str, source: Path) -> tuple[str | None, bool]:
    """The `--out` of a form, and whether it has to be refused for itself."""
    rows = place.folder / "rows.jsonl"
    match form:
        case "none":
            return None, False
        case "csv":
            return "rows.csv", False
        case "input":
            return source.name, True
        case "link to input":
            rows.symlink_to(source)
            return rows.name, True
        case "hard link to input":
            os.link(source, rows)
            return rows.name, True
        case "errors beside is the input":
            os.link(source, rows.with_name("rows.errors.jsonl"))
            return rows.name, True
        case "there already":
            rows.write_bytes(b"mine\n")
            return rows.name, True
        case "link to another":
            rows.symlink_to(place.folder.parent / "another.jsonl")
            return rows.name, True
    return rows.name, False


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_a_file(place: Place, shape: Shape) -> None:
    source = place.folder / shape.name
    source.write_bytes(shape.data)
    accepted = 0
    for form in FORMS:
        out, refused = out_of(place, form, source)
        before = snapshot(place.folder)
        for force in (("--force",), ()) if form.endswith("input") else ((),):
            ended = place.extract(shape.name, "--new", *shape.arguments, *(("--out", out, *force) if out else ()))
            if shape.named and not (refused and "--out" in ended.err.decode()):
                file = () if "--prompt" in shape.named or "--prompt @nowhere" in shape.named else (shape.name,)
                check_refused(place, ended, before, (*file, *shape.named))
            elif refused:
                check_refused(place, ended, before, ("--out",), opened=accepted)
                assert any(remedy in ended.err.decode() for remedy in ("another name", "--force", "ends in"))
            else:
                assert ended.code == 0, ended.err.decode() + ended.crash
                accepted += 1
                assert place.opened() == accepted
                assert snapshot(place.folder) == before, "results are written at the end, and nothing else ever"
        for name in ("rows.jsonl", "rows.errors.jsonl"):
            (place.folder / name).unlink(missing_ok=True)
        if place.opened() and shape.named:
            pytest.fail("opened, though it is refused")
    assert (place.folder.parent / "another.jsonl").read_bytes() == b"another\n"
    assert bool(accepted) == (not shape.named)


@pytest.mark.parametrize(
    "shape", [each for each in SHAPES if not each.name.lower().endswith((".csv", ".tsv"))], ids=lambda shape: shape.name
)
def test_the_same_by_standard_input_and_by_a_pipe(place: Place, shape: Shape) -> None:
    (place.folder / "rows.jsonl").write_bytes(b"mine\n")
    os.mkfifo(place.folder / "pipe")
    before = snapshot(place.folder)

    def feed() -> None:
        with contextlib.suppress(OSError), (place.folder / "pipe").open("wb") as file:
            file.write(shape.data)

    for source in ("-", "pipe"):
        writer = threading.Thread(target=feed, daemon=True)
        if source == "pipe":
            writer.start()
        ended = place.extract(source, *shape.arguments, stdin=shape.data)
        if source == "pipe" and writer.is_alive():  # it was refused before anybody read
            descriptor = os.open(place.folder / "pipe", os.O_RDONLY | os.O_NONBLOCK)
            os.close(descriptor)
            writer.join(10)
        if shape.named:
            name = ("standard input" if source == "-" else "pipe",)
            check_refused(place, ended, before, (*(() if "--prompt" in shape.named[0] else name), *shape.named))
        else:
            assert ended.code == 0, ended.err.decode() + ended.crash
            assert snapshot(place.folder) == before


def links(folder: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    (folder / "loop").symlink_to("loop")
    (folder / "nowhere").symlink_to("not-there.jsonl")
    (folder / "a-folder").mkdir()
    (folder / "texts").mkdir()
    (folder / "texts" / "gone.md").symlink_to("nothing.md")
    (folder / "texts" / "good.md").write_text("words")
    yield "loop", ("loop",)
    yield "nowhere", ("nowhere", "No such file")
    yield "not-there.jsonl", ("not-there.jsonl", "No such file")
    yield "a-folder", ("a-folder", "no text or Markdown file")
    yield "texts", ("gone.md", "No such file")
    yield "", ("INPUT is empty", "name a file")
    yield "/dev/zero", ("/dev/zero", "is a device", "name a file")
    yield "/dev/null", ("/dev/null",)
    yield "x" * 300, ("x" * 200,)


def test_links_folders_and_devices(place: Place) -> None:
    for source, named in [*links(place.folder)]:
        check_refused(place, place.extract(source), snapshot(place.folder), named)


@pytest.mark.parametrize(
    ("out", "named"),
    [
        ("rows.feather", (".feather", ".jsonl")),
        ("rows.xlsx", (".xlsx", ".csv")),
        ("rows.jsonl.bz2", (".bz2", ".jsonl")),
        ("rows.json", (".json ", ".jsonl")),
        ("folder", ("is a folder", "name a file")),
        ("nowhere/rows.jsonl", ("nowhere", "does not exist")),
        ("/dev/null", ("no ordinary file", "redirect")),
        ("pipe", ("no ordinary file", "redirect")),
        ("x" * 260 + ".jsonl", ("too long", "choose a shorter")),
        ("schema.jsonl", ("same file", "another name")),
        ("prompt.jsonl", ("same file", "another name")),
        ("", ("--out",)),
    ],
)
@pytest.mark.parametrize("force", [(), ("--force",)])
def test_an_output(place: Place, out: str, named: tuple[str, ...], force: tuple[str, ...]) -> None:
    (place.folder / "in.jsonl").write_bytes(GOOD)
    (place.folder / "folder").mkdir()
    (place.folder / "loop").symlink_to("loop")
    (place.folder / "schema.jsonl").write_text('{"type": "object", "properties": {"a": {"type": "string"}}}')
    (place.folder / "prompt.jsonl").write_text("Read {text}")
    os.mkfifo(place.folder / "pipe")
    before = snapshot(place.folder)
    arguments = ("--schema", "schema.jsonl", "--prompt", "@prompt.jsonl", "--out", out, *force)
    check_refused(place, place.extract("in.jsonl", *arguments), before, named)


def mutated(chance: random.Random) -> tuple[str, bytes]:
    """A file as somebody's tool may have left it: a good one with a few bytes changed, cut, doubled or mixed with another."""
    shape = chance.choice(SHAPES)
    data = bytearray(shape.data[:4000])
    for _ in range(chance.randrange(1, 6)):
        at = chance.randrange(len(data) + 1)
        match chance.randrange(5):
            case 0:
                data[at:at] = chance.choice(
                    [b"\x00", b"\xff", b'"', b"\n", b"\r", b",", b"{", b"}", b"\\", b"\xef\xbb\xbf", b"\x1b[2J"]
                )
            case 1:
                del data[at : at + chance.randrange(1, 30)]
            case 2:
                data[at:at] = data[: chance.randrange(1, 60)]
            case 3:
                data[at:at] = chance.choice(SHAPES).data[:200]
            case _:
                data[at : at + 1] = bytes([chance.randrange(256)])
    suffix = Path(shape.name).suffix
    return f"odd{suffix if suffix.isascii() else ''}", bytes(data)


def test_any_file(place: Place, request: pytest.FixtureRequest) -> None:
    rounds = int(400 * max(1.0, request.config.getoption("--soak-minutes")))
    taken = 0
    for seed in range(rounds):
        name, data = mutated(random.Random(seed))
        source = place.folder / name
        source.write_bytes(data)
        before, opened = snapshot(place.folder), place.opened()
        ended = place.extract(name, "--new")
        said = ended.err.decode()
        assert not ended.crash, f"seed {seed}: {ended.crash}"
        assert ended.code in (0, 2), f"seed {seed}: {said}"
        assert snapshot(place.folder) == before, f"seed {seed}"
        assert place.opened() == opened + (ended.code == 0), f"seed {seed}"
        assert ended.code == 0 or name in said, f"seed {seed}: {said}"
        taken += ended.code == 0
        source.unlink()
    assert 0 < taken < rounds


def test_an_endless_input_ends(place: Place) -> None:
    ended = place.extract(
        "-",
        "--limit",
        "3",
        stdin=b'{"text": "x"}\n' * 100_000,
    )
    assert ended.code == 0, ended.err.decode()
    assert place.opened() == 1
